#!/usr/bin/env bash
# What one GPU can tell of this project in nine minutes, without a network: benchmarks/gpu.sh OUT.
# docs/commands/gpu.md says what must lie beside it and what the variables below change; each part has a time limit, and what is
# found is written to OUT as it goes.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:?benchmarks/gpu.sh OUT}") device=${DEVICE:-cuda} total=${TOTAL:-500} data=$(realpath -m "${DATA:-.gpu/data}")
smoke=${SMOKE:-} parts=${PARTS:-device runs laws bench seeds} jobs=${JOBS:-11}
work=$(mktemp -d) python=${PYTHON:-python3}
mkdir -p "$out" "$work"/{logs,records,laws}
export PYTHONPATH=$PWD/src PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 COLUMNS=110 TERM=dumb
export TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton
if compgen -G '.gpu/wheels/*.whl' >/dev/null; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" .gpu/wheels/*.whl
  PYTHONPATH=$PYTHONPATH:$work/site
fi
hardgrad=("$python" -c 'from hardgrad_lab.cli import main; main()')
reproduce=("${hardgrad[@]}" reproduce)
where=(--device "$device" --out "$work/records" --data "$data")

keep() { tar -C "$work" --exclude checkpoints --exclude report -czf "$out/$BASHPID.tar.gz" records logs laws 2>/dev/null; mv "$out/$BASHPID.tar.gz" "$out/all.tar.gz"; }
part() { # NAME SECONDS BYTES COMMAND...: at most so many seconds, and the last so many bytes of what it says are shown
  local name=$1 most=$(($2 * ${SLOW:-1})) shown=$3 status=0 begun=$SECONDS
  shift 3
  most=$((most < total - SECONDS ? most : total - SECONDS))
  if ((most < 5)); then status=skipped; else
    timeout -s TERM -k 8 "$most" "$@" >"$work/logs/$name.log" 2>&1 || status=$?
  fi
  local said
  said=$(grep -Ev 'Warning|^ *(table|picture|page) ' "$work/logs/$name.log" 2>/dev/null | sed 's/ *$//' | cat -s | tail -c "$shown")
  printf '\n## %s: %d s of %d, status %s\n\n```\n%s\n```\n' "$name" $((SECONDS - begun)) "$most" "$status" "$said" >>"$out/summary.md"
  printf '{"part": "%s", "begun": %d, "seconds": %d, "status": "%s"}\n' "$name" "$begun" $((SECONDS - begun)) "$status" >>"$out/summary.jsonl"
  keep
}
pick() { echo "${smoke:+$1}$([ -n "$smoke" ] || echo "$2")"; } # a smoke run's, or the real one's
small() { [ "$device" = cpu ] && echo "$1" || echo "$2"; }
wants() { [[ " $parts " == *" $1 "* ]]; }
results() { # one line a record
  "$python" - "$work"/records/*.json <<'END'
import json, sys
for path in sys.argv[1:]:
    record = json.loads(open(path).read())
    if "metrics" in record:
        said = {n: round(v, 4) for n, v in record["metrics"].items() if n in ("accuracy", "best_bound", "relative_error")}
        print(path.split("/")[-1][:-14], f"{record['samples']:,} samples {record['seconds']:.0f} s", said)
END
}
trap '{ printf "\n## records\n\n"; results; } >>"$out/summary.md"; keep; head -c 11500 "$out/summary.md"' EXIT
: >"$out/summary.md"
: >"$out/summary.jsonl"

wants device && part device 60 900 "$python" -c "
import platform, time, torch
print('python', platform.python_version(), 'torch', torch.__version__, 'on', torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu')
from hardgrad_lab.runs.execute import choose_device
x = torch.zeros(8, device=choose_device('$device'))
for repeat in range(2):
    start = time.perf_counter()
    for _ in range(10_000):
        x.add_(1)
    x.sum().item()
print(f'{100 * (time.perf_counter() - start):.2f} us a small operation')"
# 1. Slices of tables V and VI, in processes side by side, and beside the laws: all of them wait for Python.
if wants runs; then
  for contestant in $(pick bridge "bridge bridge-noise straight-through reinmax rebar relax"); do
    part "density-$contestant" 200 250 "${reproduce[@]}" density --task mnist-static --contestant "$contestant" --seed 3 \
      --seeds "$(pick 1 2)" --budget "$(small smoke small)" "${where[@]}" $(pick "--epochs 1" "") &
  done
  part classify 200 700 "$python" benchmarks/gpu_pictures.py reproduce classify --budget "$(small smoke small)" \
    --rows "$(pick 500 20000)" --test-rows "$(pick 500 4000)" --epochs "$(pick 1 10)" --evaluations 2 --seeds "$(pick 1 3)" \
    "${where[@]}" --contestant identity --contestant sort --contestant signum \
    --contestant signum-straight-through --contestant top-k --contestant k-means &
fi
# 2. Every law of docs/evidence/pass-matrix.md, every mode, inductor, and as many pairs of modes as the time allows.
wants laws && part laws "${LAWS:-130}" 4200 "$python" benchmarks/gpu_laws.py --device "$device" --jobs "$jobs" --out "$work/laws" \
  --seconds $((${LAWS:-130} - 25)) ${smoke:+--smoke}
wait
# 3. What things cost, alone on the machine.
if wants bench; then
  part bench-bridge 90 1000 "${hardgrad[@]}" bench bridge --device "$device" --rounds "$(pick 3 100)"
  part bench-switch 45 1000 "${hardgrad[@]}" bench switch --device "$device" --seconds "$(pick 0.05 0.5)" \
    --rows "$(pick 64 1,64,1024,16384)" --ranges "$(pick 4 2,10,64)" --out "$work/records/bench-switch.json"
  part bench-estimators 45 1500 "${hardgrad[@]}" bench estimators --device "$device" --seconds "$(pick 0.1 1.5)" \
    --objective decoder --batches "$(pick 8 24,256)" --out "$work/records/bench-estimators.json"
fi
# 4. Table II: all seeds of a network as one model, one network after the other, as each fills the device.
seeds() { # SYSTEM LENGTH MILLIONS SECONDS [OPTION...]; what does not fit into the time is planned shorter
  local most=$((total - SECONDS - 20))
  most=$((most < $4 ? most : $4))
  part "seeds-$1-$2${6:+-$6}" "$(pick 30 $((most + 30)))" 350 "$python" benchmarks/gpu_seeds.py --system "$1" --length "$2" --samples \
    "$(pick 100000 "$3"000000)" --seconds "$(pick 4 "$most")" --device "$device" --batch "$(small 64 1024)" \
    --seeds "$(small 2 8)" --out "$work/records" "${@:5}"
}
if wants seeds; then
  seeds signum-dense 10 40 55
  seeds signum-dense 15 80 75
  [ -n "$smoke" ] || {
    seeds tanh-dense 15 40 25
    seeds signum-dense 10 40 30 --surrogate straight-through
    seeds elu-dense 15 40 25
  }
fi
