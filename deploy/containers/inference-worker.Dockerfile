# The inference worker, with and without the CUDA module. Built from the repository root; README.md
# says how.

# Where nvcc comes from. It is copied: the toolkit is relocatable, and what it makes here depends on
# nothing of that image.
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu22.04
ARG CUDA_ARCHITECTURES=80-real;86-real;89-real;90-real;90-virtual

FROM debian:12 AS tools
WORKDIR /src
COPY deploy/local/install_deps.sh deploy/local/
RUN deploy/local/install_deps.sh run

FROM tools AS build-cpu
COPY . .
RUN cmake --preset release -DCONCLAVE_TESTS=OFF -DCONCLAVE_CUDA=OFF \
 && cmake --build --preset release --target conclave-worker \
 && strip build/release/bin/conclave-worker

FROM ${CUDA_IMAGE} AS toolkit

FROM tools AS build-cuda
ARG CUDA_ARCHITECTURES
COPY --from=toolkit /usr/local/cuda-13.0 /usr/local/cuda
COPY . .
# The programs and the module agree on the door by a digest of its headers: built from one tree.
RUN cmake --preset cuda -DCONCLAVE_TESTS=OFF "-DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCHITECTURES}" \
 && cmake --build --preset cuda --target conclave-worker conclave_cuda \
 && strip build/cuda/bin/conclave-worker build/cuda/bin/libconclave_cuda.so

FROM debian:12-slim AS runtime
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libabsl20220623 libcurl4 \
      libgrpc++1.51 libprometheus-cpp-core1.0 libprotobuf32 libssl3 \
      libyaml-cpp0.7 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/conclave --create-home conclave
COPY deploy/models/conclave-teacher.gguf /usr/share/conclave/models/
USER 10001
EXPOSE 50051 8081
# SIGTERM drains: whoever stops the container gives it the time of --drain.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/conclave-worker", "--listen", "0.0.0.0:50051", "--probe-listen", "0.0.0.0:8081"]
CMD ["--model", "/usr/share/conclave/models/conclave-teacher.gguf"]

FROM runtime AS cpu
COPY --from=build-cpu /src/build/release/bin/conclave-worker /usr/bin/

FROM runtime AS cuda
# What the container toolkit brings in from the host: the driver's libraries and nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility CONCLAVE_DEVICE=cuda
COPY --from=build-cuda /src/build/cuda/bin/conclave-worker /usr/bin/
COPY --from=build-cuda /src/build/cuda/bin/libconclave_cuda.so /usr/lib/
