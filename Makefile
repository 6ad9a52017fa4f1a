# SPDX-License-Identifier: MIT
#
# The front door. Every goal installs the Debian packages that it lacks, builds
# what it needs and runs it; "make help" lists them. The build itself is
# meson's: whoever prefers to can call meson and never see this file.

BUILD := build
LAB := build-lab
DESTDIR :=
PREFIX := /usr/local
# Said here because meson's own choice depends on what else is installed.
LIBDIR := lib
ARGS :=

# Both kinds of library, so that what is installed can be linked either way.
OPTIONS := --prefix=$(PREFIX) --libdir=$(LIBDIR) -Ddefault_library=both
LAB_OPTIONS := -Ddefault_library=static -Dstatic_tests=true -Dbench=false
LAB_WHAT = $(if $(KERNEL),--kernel '$(KERNEL)') $(if $(CASE),--case '$(CASE)')
SUITES := unit,live,abi,models,examples,docs

# missing FILE: a program that is part of the project but not of this tree.
missing = { echo "make: $(1) is not there: this tree is incomplete" >&2; \
	exit 1; }

build:
	@build-aux/install-packages
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja -C $(BUILD)

help:
	@echo 'make            build the library and its programs in $(BUILD)/'
	@echo 'make demo       see a program live on when its memory is lost'
	@echo 'make demo-vm    the same of a virtual machine: 1,000 pages of it are lost'
	@echo 'make check      build and run all tests; a count at the end'
	@echo 'make bench      measure; the figures go to $(BUILD)/bench.json'
	@echo 'make campaign   random losses on every kind of memory (ARGS="--seed 7")'
	@echo 'make storm      1,000,000 losses by eight threads at once (ARGS="--seed 7")'
	@echo 'make fuzz       bytes that the readers of records, bezoard, of lists of lost memory, of saved'
	@echo "                ranges and of the kernel's log get wrong (ARGS=600: seconds for each)"
	@echo 'make fleet      two simulated machines that lose memory, one Prometheus and one journal that'
	@echo '                tell them apart'
	@echo 'make lab        real poison on four kernels, in virtual machines (KERNEL=6.1'
	@echo "                CASE='hw*': a part of it); the results go to $(BUILD)/lab.json"
	@echo 'make install    install under PREFIX=$(PREFIX), below DESTDIR='
	@echo 'make clean      remove the build folders'
	@echo 'ARGS="..." is passed on by demo, demo-vm, campaign, storm, bench, fuzz and lab (lab: ARGS=--short)'

demo:
	@build-aux/install-packages --for demo
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja --quiet -C $(BUILD)
	@[ -x $(BUILD)/examples/demo/demo ] || $(call missing,examples/demo)
	@$(BUILD)/examples/demo/demo $(ARGS)

demo-vm:
	@build-aux/install-packages --for demo
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja --quiet -C $(BUILD)
	@[ -x $(BUILD)/examples/tinyvm/tinyvm ] || $(call missing,examples/tinyvm)
	@$(BUILD)/examples/tinyvm/tinyvm $(ARGS)

check:
	@build-aux/install-packages --for check
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja -C $(BUILD)
	@build-aux/run-tests $(BUILD) --need $(SUITES)

bench:
	@build-aux/install-packages --for bench
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja -C $(BUILD)
	@[ -x $(BUILD)/bench/bench ] || $(call missing,bench/bench)
	@$(BUILD)/bench/bench --json $(BUILD)/bench.json $(ARGS)

campaign:
	@build-aux/install-packages --for check
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja --quiet -C $(BUILD) tests/live/live_campaign
	@$(BUILD)/tests/live/live_campaign $(ARGS)

storm:
	@build-aux/install-packages --for check
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja --quiet -C $(BUILD) tests/live/live_storm_all
	@$(BUILD)/tests/live/live_storm_all --faults 1000000 $(ARGS)

fuzz:
	@build-aux/install-packages --for ci
	@tests/tool/fuzz $(ARGS)
	@tests/kin/fuzz $(ARGS)
	@tests/vmm/fuzz json $(ARGS)
	@tests/vmm/fuzz binary $(ARGS)
	@tests/hunt/fuzz $(ARGS)
	@tests/kin/fuzz-kmsg $(ARGS)

fleet:
	@build-aux/install-packages --for check --for fleet
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja --quiet -C $(BUILD)
	@build-aux/run-tests $(BUILD) --need fleet --suite fleet

ifneq (,$(findstring --list,$(ARGS)))
lab:
	@lab/run $(LAB_WHAT) $(ARGS)
else
lab:
	@[ -x lab/run ] || $(call missing,lab/run)
	@build-aux/install-packages --for lab
	@mkdir -p $(BUILD)
	@lab/run --list $(LAB_WHAT) $(ARGS) >/dev/null
	@build-aux/configure $(LAB) $(LAB_OPTIONS)
	@ninja -C $(LAB)
	@lab/run --bin $(LAB) --json $(BUILD)/lab.json $(LAB_WHAT) $(ARGS)
endif

install:
	@build-aux/install-packages
	@build-aux/configure $(BUILD) $(OPTIONS)
	@ninja -C $(BUILD)
	@build-aux/install-tree $(BUILD) "$(PREFIX)" "$(DESTDIR)"

clean:
	rm -rf $(BUILD) $(LAB) build-ci build-clang build-asan build-tsan \
		build-aarch64

.PHONY: build help demo demo-vm check bench campaign storm fuzz fleet lab install clean
