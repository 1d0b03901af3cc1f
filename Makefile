# Craton's verbs. `make` lists them; `make run` and `make test` need nothing done before them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
# Cargo counts the jobs by itself; of make -j it would only hear files that it cannot open.
unexport MAKEFLAGS

PROGRAMS := wordcount hello echo http primes cron chat stress bench
BUNDLES := $(PROGRAMS:%=build/programs/%.craton)
NODES ?= 3
CPUS ?= 1
MEMORY ?= 64
TEXT ?=
TARGET ?=
SECONDS ?= 60
PROGRAM ?=
export APPEND ?=

export CRATON_KEYS ?= $(CURDIR)/build/keys

# Compilers and tests put what they need for a moment under build/, not where a kill would leave it.
export TMPDIR := $(CURDIR)/build/tmp
$(shell mkdir -p $(TMPDIR))

# What make starts ends with it, even if make is killed.
TIED := exec setpriv --pdeathsig

.PHONY: help setup setup-test setup-lint linux-guest build kernel tool programs keys run boot debug test test-all bench fuzz lint fmt clean

help: ## list the verbs
	@echo "Craton: bare machines as one computer for distributed programs"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  NODES=$(NODES) CPUS=$(CPUS) MEMORY=$(MEMORY) (MiB) and TEXT=folder shape make run"
	@echo "  CPUS, MEMORY and APPEND=words shape make boot and make debug"
	@echo "  make boot PROGRAM=userland/programs/hello boots a node whose image carries the program"

run: build ## boot three machines, join them, count the words of 50 MB of text
	@$(TIED) TERM build/craton-demo --nodes $(NODES) --cpus $(CPUS) --memory $(MEMORY) \
		$(if $(TEXT),--text "$(TEXT)")

boot: kernel keys ## boot one machine, its log on this terminal; PROGRAM=folder runs on it
	@$(if $(PROGRAM),export CARGO_TARGET_DIR=$(CURDIR)/target/guest;) \
		$(TIED) TERM build/craton boot --cpus $(CPUS) --memory $(MEMORY) --append "$$APPEND" \
		$(if $(PROGRAM),--program "$(PROGRAM)" --forward 8080)

debug: kernel keys ## the same, waiting for gdb; it says how to attach
	@$(TIED) TERM build/craton debug --cpus $(CPUS) --memory $(MEMORY) --append "$$APPEND"

test: setup-test ## every test: style, host, simulator, QEMU; ends with "N passed, N failed"
	@$(TIED) KILL tools/test/run.sh

test-all: setup-test ## the same, with every kind of machine and what takes long
	@tools/setup/linux-guest.sh || true # the test that boots it says that it is skipped
	@$(TIED) KILL tools/test/run.sh all

bench: build ## measure this machine's Craton, beside its peers where they are installed
	@$(TIED) KILL build/craton-bench

fuzz: setup ## throw mutations at a parser: TARGET=name (or all), SECONDS=60, SEED=n, INPUT=file
	@cd tools && cargo build --release --quiet -p craton-fuzz
	@$(TIED) KILL tools/target/release/craton-fuzz $(TARGET) --seconds $(SECONDS) \
		$(if $(SEED),--seed $(SEED)) $(if $(INPUT),--input $(INPUT))

build: setup kernel tool programs ## leave build/kernel.elf, build/craton and build/programs

setup: ## install what is missing (apt, as root or by sudo)
	@tools/setup/setup.sh

setup-test:
	@tools/setup/setup.sh test

setup-lint:
	@tools/setup/setup.sh lint

linux-guest: setup-test ## a Linux machine for the tests of make test-all, which makes it too
	@tools/setup/linux-guest.sh

kernel: setup
	@mkdir -p build
	@cargo build --release -p craton-kernel
	@cp --remove-destination target/release/craton-kernel build/kernel.debug
	@cd tools && cargo run --release --quiet -p craton-symbolize -- ../build/kernel.debug
	@strip -o build/kernel.elf build/kernel.debug

tool: setup
	@mkdir -p build
	@cd tools && cargo build --release --bins
	@cp --remove-destination tools/target/release/craton{,-demo,-sim,-bench,-native} build/

keys: tool
	@test -e $(CRATON_KEYS)/authority.key || build/craton key new

programs: tool keys $(BUNDLES)

# The tool knows whether anything changed; make does not see into cargo packages. The test guest has
# hand-written WebAssembly in it, which a stable rustc lets in by name only. Both variables are for
# the recipe alone: prerequisites would inherit those of a target.
build/programs/%.craton: .FORCE | keys
	@mkdir -p build/programs
	@CARGO_TARGET_DIR=$(CURDIR)/target/guest $(if $(filter stress,$*),RUSTC_BOOTSTRAP=stress) \
		build/craton build userland/programs/$* --output $@ --quiet

.FORCE:

lint: setup-lint ## rustfmt and clippy, warnings denied
	@tools/test/lint.sh

fmt: ## format every crate
	@cargo fmt
	@cd tools && cargo fmt

clean: ## remove everything that was built, the keys too
	@rm -rf build target tools/target
