"""The doctor: how far a gradient is from the true one, on the user's own function."""

from hardgrad.doctor._breaks import breaks as breaks
from hardgrad.doctor._candidates import candidates as candidates
from hardgrad.doctor._examine import examine as examine
from hardgrad.doctor.boxes.report import BoxReport as BoxReport
from hardgrad.doctor.boxes.report import Finding as Finding
from hardgrad.doctor.diagnosis import Truth as Truth
from hardgrad.doctor.flow.report import Break as Break
from hardgrad.doctor.flow.report import Breaks as Breaks
from hardgrad.doctor.function import FunctionError as FunctionError
from hardgrad.doctor.pace import Progress as Progress
from hardgrad.doctor.row import Row as Row
from hardgrad.doctor.stopped import Stopped as Stopped
from hardgrad.doctor.watch import Sighting as Sighting
from hardgrad.doctor.watch import Watch as Watch
