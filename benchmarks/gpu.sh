#!/usr/bin/env bash
# Check and time videopool on a machine with a GPU, the most valuable facts first:  benchmarks/gpu.sh [DIR]
#
#   library    builds the kernels for this GPU if the libraries in videopool/ops do not load     at most 150 s
#   smoke      every kernel family against float64                                                         20 s
#   cells      the op beside a copy of as many bytes, for each window, layout, dtype and direction         60 s
#   counters   what limits six kernels (Nsight Compute)                                                    60 s
#   tests      tests/ops/test_cuda.py with a GPU required                                                 100 s
#   table      benchmarks/pooling.py: torch's pooling, composed and compiled forms                        100 s
#   sanitizer  memcheck and racecheck over a call of every kernel                                          60 s
#   loading    page-locked memory, prefetching, augmentation on the GPU                                    60 s
#   step       a training step with and without SoftPool: bfloat16, compiled, in CUDA graphs               90 s
#
# All results are in one archive, DIR/DATE-GPU.tar.gz (DIR: benchmarks/results), which is written again after each step, so
# that a run that is stopped keeps what it has. A step that exceeds its time fails, and the next one runs. The exit status is
# 0 if all steps passed. PYTHON sets the interpreter, which needs torch with CUDA, numpy, pytest and setuptools.
# VIDEOPOOL_GPU_DRY_RUN=1 runs all steps that a machine without a GPU can, on its processor.
set -uo pipefail
if [ $# -gt 1 ] || [ "${1:-}" = "-h" ] || [ "${1:-}" = "--help" ]; then
  echo "usage: benchmarks/gpu.sh [DIR]" >&2
  exit 2
fi
cd "$(dirname "$0")/.." || exit 1
mkdir -p "${1:-benchmarks/results}" || exit 1
out=$(cd "${1:-benchmarks/results}" && pwd)
python=${PYTHON:-python3}
dry=${VIDEOPOOL_GPU_DRY_RUN:-0}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
device=cuda
if [ "$dry" = 1 ]; then
  device=cpu gpu=dry-run arch=90
else
  ask='import torch; print(torch.cuda.get_device_name(), *torch.cuda.get_device_capability())'
  if ! found=$("$python" -c "$ask" 2>/dev/null); then
    echo "gpu.sh: torch of $python finds no GPU; run this on a machine with one, or set PYTHON to another interpreter" >&2
    exit 2
  fi
  arch=$(echo "$found" | awk '{ print $(NF - 1) $NF }')
  gpu=$(echo "$found" | awk '{ NF -= 2; print }' | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9\n' '-')
fi
name="$(date +%F)-${gpu%-}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()

# archive: the results so far, in place of the archive before
archive() {
  tar -C "$work" -czf "$out/.$name.tar.gz" . && mv "$out/.$name.tar.gz" "$out/$name.tar.gz"
}

# step NAME SECONDS COMMAND...: run a command with its output in a file, and record a failure
step() {
  local what=$1 seconds=$2 begin=$SECONDS status
  shift 2
  timeout --kill-after=5 "$seconds" "$@" >"$work/$what.txt" 2>&1
  status=$?
  echo "$what: exit status $status, $((SECONDS - begin)) s" | tee -a "$work/summary.txt"
  if [ $status -ne 0 ]; then
    tail -n 25 "$work/$what.txt"
    failed+=("$what")
  fi
  archive
  return $status
}

# skip NAME REASON
skip() { echo "$1: skipped, $2" | tee -a "$work/summary.txt"; }

loads='import sys, videopool.ops as ops; print(ops.backend()); sys.exit("+cuda" not in ops.backend())'
[ "$dry" = 1 ] && loads='import videopool.ops as ops; print(ops.backend())'

# A call of every kernel: dtypes, layouts, aligned and unaligned data, and values that need the careful code paths.
calls='
import sys, torch
from videopool import ops
device = sys.argv[1]
windows = [(2, 2), ((1, 2, 2), (1, 2, 2)), ((1, 3, 3), (1, 2, 2), (0, 1, 1)), (3, 2, 1), (3, 1, 1),
           ((2, 7, 7), (2, 7, 7)), ((2, 3, 3), (1, 2, 2), (1, 1, 1), (1, 1, 2), True)]
for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        for shape in ((1, 8, 4, 7, 8), (1, 3, 3, 9, 11)):
            for spread in (1, 100):
                x, logits = (torch.randn(shape, device=device).mul(spread).to(dtype).contiguous(memory_format=layout)
                             .requires_grad_() for _ in range(2))
                for window in windows:
                    ops.soft_pool3d(x, *window).sum().backward()
                    ops.softmax_pool3d(x, logits, *window).sum().backward()
                for size in (1, (2, 3, 4)):
                    ops.adaptive_soft_pool3d(x, size).sum().backward()
print("done")
'
# Six kernels, each once, on a tensor that fills the GPU.
six='
import torch
from videopool import ops
for layout in (torch.contiguous_format, torch.channels_last_3d):
    x = torch.randn(8, 64, 8, 112, 112, device="cuda", dtype=torch.bfloat16).contiguous(memory_format=layout)
    for window in (((1, 3, 3), (1, 2, 2), (0, 1, 1)), (3, 1, 1)):
        leaf = x.detach().requires_grad_()
        ops.soft_pool3d(leaf, *window).sum().backward()
    ops.adaptive_soft_pool3d(x, 1)
torch.cuda.synchronize()
'

if [ "$dry" = 0 ]; then nvidia-smi >"$work/nvidia-smi.txt" 2>&1; fi
if ! step library 30 "$python" -c "$loads"; then
  failed=()
  step build 150 env VIDEOPOOL_BUILD=cuda VIDEOPOOL_CUDA_ARCHS="$arch" "$python" setup.py build_ext --inplace
  step backend 30 "$python" -c "$loads"
fi
step smoke 60 "$python" -m benchmarks.gpu_smoke --device "$device"
fraction=1
[ "$dry" = 1 ] && fraction=0.13
step cells 120 "$python" -m benchmarks.gpu_cells --device "$device" --fraction "$fraction" --to "$work/cells.json"
if [ "$dry" = 0 ] && command -v ncu >/dev/null; then
  step counters 60 ncu --clock-control none --section SpeedOfLight --section Occupancy --section WarpStateStats \
    --kernel-name 'regex:overlapping|runs|large|owned' --csv "$python" -c "$six"
else
  skip counters "ncu is not installed, or there is no GPU"
fi
workers=()
"$python" -c 'import xdist' 2>/dev/null && workers=(-n 8)
if [ "$dry" = 1 ]; then
  step tests 60 "$python" -m pytest -q -n 0 --collect-only tests/ops/test_cuda.py
else
  step tests 100 env VIDEOPOOL_REQUIRE_CUDA=1 "$python" -m pytest -q "${workers[@]}" tests/ops/test_cuda.py
fi
if [ "$dry" = 1 ]; then
  skip table "it needs a GPU"
else
  step table 100 "$python" benchmarks/pooling.py --device cuda --dtypes float32 bfloat16 --shapes 8x64x8x112x112 \
    --rounds 5 --seconds 0.5 --json "$work/pooling.json" --to "$work/pooling.md"
  # If the step ran out of time, write a table of what it has measured.
  if [ ! -s "$work/pooling.md" ] && [ -s "$work/pooling.json" ]; then
    "$python" benchmarks/pooling.py --from "$work/pooling.json" --to "$work/pooling.md" >/dev/null
  fi
fi
if [ "$dry" = 0 ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "$tool" 60 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$python" -c "$calls" cuda
  done
else
  step calls 60 "$python" -c "$calls" "$device"
fi
if [ "$dry" = 1 ]; then
  skip loading "it needs a GPU"
else
  step loading 60 env VIDEOPOOL_REQUIRE_CUDA=1 "$python" -m pytest -q tests/data/test_gpu_loading.py
fi
forms=()
[ "$dry" = 1 ] && forms=(--forms eager)  # compiling takes minutes on a processor
step step 120 "$python" -m benchmarks.gpu_step --device "$device" "${forms[@]}" --to "$work/step.json"

echo "total: $SECONDS s; results: $out/$name.tar.gz" | tee -a "$work/summary.txt"
archive
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all passed"
