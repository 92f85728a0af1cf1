# SPDX-License-Identifier: Apache-2.0
# Each target works from a bare Debian 12: it installs the packages it lacks, configures, builds, and runs. A second call does no
# work twice. PRESET chooses another configuration of CMakePresets.json.
PRESET ?= dev
BUILD  := build/$(PRESET)
ANYBPF := $(BUILD)/cli/anybpf

.PHONY: help build run test objects bench fuzz format lint install clean

help:
	@echo "make run      build, and watch execsnoop over a real command tree"
	@echo "make test     build, and run every test"
	@echo "make objects  programs of Debian's BPF packages before this verifier and the live kernel"
	@echo "make bench    measure beside strace, C and the kernel's own BPF; rewrites docs/performance.md's tables"
	@echo "make fuzz     every fuzz target for FUZZ_SECONDS (60) each"
	@echo "make format   clang-format over the sources        make lint    formatting, clang-tidy, licences, headers alone"
	@echo "make install  the release build, into PREFIX (/usr/local)"

build:
	@scripts/setup build
	@test -f $(BUILD)/build.ninja || cmake --preset $(PRESET)
	cmake --build $(BUILD)

run: build
	$(ANYBPF) run programs/execsnoop.bpf.c -- sh -c 'date; ls / | wc -l; for n in 1 2 3; do uname -s; done; git --version'

test: build
	@scripts/setup test
	ctest --test-dir $(BUILD) --output-on-failure --progress -j2

objects: build
	@scripts/setup objects
	cmake --build $(BUILD) --target objects-all

bench:
	@scripts/setup build bench
	@test -f build/release/build.ninja || cmake --preset release -DANYBPF_TESTS=OFF
	cmake --build build/release
	bench/run build/release docs/performance.md
	build/release/bench/bench_engines | bench/publish docs/performance.md bench_engines
	build/release/bench/bench_verifier | bench/publish docs/performance.md bench_verifier

FUZZ_SECONDS ?= 60
fuzz:
	@scripts/setup build fuzz
	@test -f build/fuzz/build.ninja || cmake --preset fuzz
	cmake --build build/fuzz
	scripts/fuzz build/fuzz $(FUZZ_SECONDS)

format:
	@scripts/setup lint
	git ls-files '*.cpp' '*.hpp' | xargs clang-format-19 -i

lint:
	@scripts/setup build lint
	@test -f build/clang/build.ninja || cmake --preset clang
	scripts/lint build/clang

PREFIX ?= /usr/local
install:
	@scripts/setup build
	@test -f build/release/build.ninja || cmake --preset release -DANYBPF_TESTS=OFF
	cmake --build build/release
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build
