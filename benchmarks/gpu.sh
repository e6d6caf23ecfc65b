#!/usr/bin/env bash
# Build, test, check and time videopool on a machine with a GPU, in under 8 minutes:  benchmarks/gpu.sh [DIR]
#
#   build      the kernels, for this GPU only                                     at most 120 s
#   tests      tests/ops/test_cuda.py with a GPU required; includes CUDA graphs,
#              torch.compile and more than 2^31 cells                             at most 140 s
#   loading    tests/data/test_gpu_loading.py: page-locked memory, prefetching,
#              augmentation                                                       at most  60 s
#   sanitizer  the four tools of compute-sanitizer in parallel, over a call of
#              every kernel; skipped if it is not installed                       at most  60 s
#   table      benchmarks/pooling.py --device cuda                                at most 120 s
#   augment    benchmarks/augment.py --device cuda                                at most  60 s
#   methods    benchmarks/methods.py --device cuda; skipped without PyYAML        at most  60 s
#
# Results are written to DIR (benchmarks/results), named after the date and the GPU. The exit status is 0 if all steps
# passed. A step that exceeds its time fails but keeps what it has measured. PYTHON sets the interpreter, which needs
# torch with CUDA, numpy, pytest and setuptools.
set -uo pipefail
if [ $# -gt 1 ] || [ "${1:-}" = "-h" ] || [ "${1:-}" = "--help" ]; then
  echo "usage: benchmarks/gpu.sh [DIR]" >&2
  exit 2
fi
cd "$(dirname "$0")/.." || exit 1
mkdir -p "${1:-benchmarks/results}" || exit 1
out=$(cd "${1:-benchmarks/results}" && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
ask='import torch; print(torch.cuda.get_device_name(), *torch.cuda.get_device_capability())'
if ! device=$("$python" -c "$ask" 2>/dev/null); then
  echo "gpu.sh: torch of $python finds no GPU; run this on a machine with one, or set PYTHON to another interpreter" >&2
  exit 2
fi
arch=$(echo "$device" | awk '{ print $(NF - 1) $NF }')
gpu=$(echo "$device" | awk '{ NF -= 2; print }' | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9\n' '-')
name="$out/$(date +%F)-$gpu"
failed=()

# step NAME SECONDS COMMAND...: run a command with its output in a file, and record a failure
step() {
  local what=$1 seconds=$2 begin=$SECONDS
  shift 2
  if timeout --kill-after=5 "$seconds" "$@" >"$name-$what.txt" 2>&1; then
    echo "passed in $((SECONDS - begin)) s: $what"
  else
    echo "FAILED after $((SECONDS - begin)) s: $what ($name-$what.txt)"
    tail -n 25 "$name-$what.txt"
    failed+=("$what")
  fi
}

# Calls every kernel: dtypes, layouts, aligned and unaligned data, and values that need the careful code paths.
calls='
import torch
from videopool import ops
windows = [(2, 2), ((1, 2, 2), (1, 2, 2)), ((1, 3, 3), (1, 2, 2), (0, 1, 1)), (3, 2, 1), (3, 1, 1),
           ((2, 7, 7), (2, 7, 7)), ((2, 3, 3), (1, 2, 2), (1, 1, 1), (1, 1, 2), True)]
for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        for shape in ((1, 8, 4, 7, 8), (1, 3, 3, 9, 11)):
            for spread in (1, 100):
                x, logits = (torch.randn(shape, device="cuda").mul(spread).to(dtype).contiguous(memory_format=layout)
                             .requires_grad_() for _ in range(2))
                for window in windows:
                    ops.soft_pool3d(x, *window).sum().backward()
                    ops.softmax_pool3d(x, logits, *window).sum().backward()
                for size in (1, (2, 3, 4)):
                    ops.adaptive_soft_pool3d(x, size).sum().backward()
torch.cuda.synchronize()
print("done")
'

echo "$device -> $name-*"
nvidia-smi >"$name-nvidia-smi.txt" 2>&1
step build 120 env VIDEOPOOL_BUILD=cuda VIDEOPOOL_CUDA_ARCHS="$arch" "$python" setup.py build_ext --inplace
step backend 20 "$python" -c 'import videopool.ops as ops; print(ops.backend()); assert "+cuda" in ops.backend()'
step tests 140 env VIDEOPOOL_REQUIRE_CUDA=1 "$python" -m pytest -q tests/ops/test_cuda.py
step loading 60 env VIDEOPOOL_REQUIRE_CUDA=1 "$python" -m pytest -q tests/data/test_gpu_loading.py
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    # Runs in the background, so without `step`; the next loop reads the exit status from the file.
    (
      PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout --kill-after=5 60 compute-sanitizer --tool "$tool" --error-exitcode 1 \
        "$python" -c "$calls" >"$name-$tool.txt" 2>&1
      echo "exit status $?" >>"$name-$tool.txt"
    ) &
  done
  wait
  for tool in memcheck racecheck initcheck synccheck; do
    step "sanitizer-$tool" 5 sh -c 'tail -n 25 "$0"; tail -n 1 "$0" | grep -qx "exit status 0"' "$name-$tool.txt"
    rm -f "$name-sanitizer-$tool.txt"
  done
else
  echo "skipped: sanitizer (compute-sanitizer is not installed)"
fi
step table 120 "$python" benchmarks/pooling.py --device cuda --dtypes float32 bfloat16 float16 \
  --shapes 8x64x8x112x112 --rounds 5 --seconds 0.5 --json "$name-pooling.json" --to "$name-pooling.md"
# If the step ran out of time, write a table of what it has measured.
if [ ! -s "$name-pooling.md" ] && [ -s "$name-pooling.json" ]; then
  "$python" benchmarks/pooling.py --from "$name-pooling.json" --to "$name-pooling.md" >/dev/null
fi
step augment 60 "$python" -m benchmarks.augment --device cuda --shape 32 16 224 --to "$name-augment.md"

if "$python" -c 'import yaml' 2>/dev/null; then
  step methods 60 "$python" -m benchmarks.methods --device cuda --rounds 5 --to "$name-methods.md"
else
  echo "skipped: methods (PyYAML is not installed)"
fi

echo "total: $SECONDS s; results: $name-*"
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all passed"
