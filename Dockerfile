# videopool on the CPU. Build: docker build -t videopool .
# Use: docker run --rm -v "$PWD:/work" videopool train --config small/c3d data.root=my_videos out=runs/mine
FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/videopool
ENV PATH="/opt/videopool/bin:$PATH" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY constraints.txt ./
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)" \
 && pip install -c constraints.txt setuptools wheel ninja
COPY . .
# The commit, for videopool --version: --build-arg VIDEOPOOL_COMMIT=$(git rev-parse HEAD)
ARG VIDEOPOOL_COMMIT=""
RUN VIDEOPOOL_BUILD=cpu pip install -c constraints.txt --no-build-isolation '.[train,study,onnx]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/videopool /opt/videopool
ENV PATH="/opt/videopool/bin:$PATH"
RUN useradd --create-home videopool
USER videopool
WORKDIR /work
ENTRYPOINT ["videopool"]
CMD ["--help"]
