"""Audio programs as black boxes: ``plugin`` hosts pedalboard's effects, VST3 and Audio Units, ``ladspa`` LADSPA files.

A plug-in is machine code that runs with the rights of whoever loads it: load none that you do not trust.
"""

from hardgrad_lab.audio.ladspa import ladspa as ladspa
from hardgrad_lab.audio.ladspa import plugins as plugins
from hardgrad_lab.audio.parameters import Parameter as Parameter
from hardgrad_lab.audio.plugin import plugin as plugin
