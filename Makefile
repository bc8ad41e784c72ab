# Blobkeep: `make run` starts it, `make test` tests it. Nothing needs to be installed before but Python 3.11, git and make.
# Options of the server may be given to make: make run BLOBKEEP_LISTEN=127.0.0.1:8080 BLOBKEEP_DIR=/srv/blobs
.DEFAULT_GOAL := help
.PHONY: help run install wheel deb test pythons slow packaging bench bench-many bench-s3 bench-restic bench-swift check format clean

PYTHON ?=
# Most tests wait for a disk or a process: more at once than there are cores.
JOBS ?= 8
export PYTHON

help:
	@echo 'make run      set up .venv, start Blobkeep in the foreground on ./data and port 7777'
	@echo 'make run ENGINE=objects   the same on an object store (SeaweedFS on loopback, for development)'
	@echo 'make install [PREFIX=/opt/blobkeep]   install it, as root with a system user and systemd units; again: upgrade'
	@echo 'make wheel, make deb   a wheel (pipx install dist/*.whl), a Debian package, in dist/'
	@echo 'make test     set up what the tests need, run them (make test TESTS=tests/unit for some)'
	@echo 'make slow     the tests that take minutes, left out of make test'
	@echo 'make packaging   install the wheel, the Debian package and what an image would hold, and use each'
	@echo 'make bench ENGINE=objects   what Blobkeep adds to the object store that it runs on'
	@echo 'make bench-s3, make bench-restic   S3 beside SeaweedFS, restic beside nginx'
	@echo 'make bench    measure Blobkeep beside nginx and others (CASES="GET 1 KiB;create", PEERS, SECONDS, ROUNDS, GO; bench/)'
	@echo 'make bench-readers   a server with readers beside nginx with as many processes (READERS=1 WORKERS=2)'
	@echo 'make bench-many   a million blobs: starts with the index and without, memory, pages (BLOBS, FOLDER, INDEXED=1; minutes)'
	@echo 'make bench-all   all of these, one after the other (an hour, 12 GB)'
	@echo 'make pythons  a part of the tests on each Python from 3.11 to 3.14 that is here, and with python -O'
	@echo 'make check    format, lint and type checks'
	@echo 'make format   format the code'
	@echo 'make fuzz-http   fuzz a server from its own /openapi.json (SEED=1 SIZE=500: requests an operation)'
	@echo 'make model, faults, crashes, rot, fuzz   longer runs of these tests (SEED=1 SIZE=10; SIZE=0: everything)'
	@echo 'make power-cuts, torture   disks that a power cut may leave; the whole system under kills (SEED=1 SIZE=3000, SECONDS=120; ENGINE=objects SIZE=4: rounds on an object store; DEVICE=1: cuts of a real block device, as root)'
	@echo 'make mutations   break the product in one place at a time: which tests notice (docs/reliability.md)'
	@echo 'make clean    remove .venv and what tools left; never ./data'
	@echo 'PYTHON=/path/to/python chooses the interpreter; BLOBKEEP_<OPTION>=... sets an option (conf/blobkeep.toml).'

# ENGINE=objects: on an object store of its own, on loopback, for development.
ENGINE ?= local
run:
	@./bootstrap.sh $(if $(filter objects,$(ENGINE)),dev-objects)
	@exec .venv/bin/$(if $(filter objects,$(ENGINE)),python -m services.launch objects,blobkeep serve)

PREFIX ?= /opt/blobkeep
export PREFIX
install:
	@./bootstrap.sh
	@packaging/install.sh

wheel:
	@./bootstrap.sh
	@packaging/wheel.sh dist && ls dist/*.whl

deb:
	@./bootstrap.sh
	@packaging/deb.sh

test:
	@./bootstrap.sh test
	.venv/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

pythons:
	@./bootstrap.sh test
	@.ci/pythons $(JOBS)

slow:
	@./bootstrap.sh test
	.venv/bin/python -m pytest -m slow $(TESTS)

packaging:
	@./bootstrap.sh test
	.venv/bin/python -m pytest -m slow -n 2 tests/process/test_install.py tests/process/test_launch.py

check:
	@./bootstrap.sh test
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m ruff check .
	.venv/bin/python -m mypy

# A run of everything takes some 15 minutes on two quiet cores. DOCS= leaves docs/performance.md as it is.
CASES ?=
PEERS ?=
SECONDS ?= 2
ROUNDS ?= 3
GO ?=
DOCS ?= $(if $(CASES)$(PEERS),,docs)
bench:
	@./bootstrap.sh $(if $(filter objects,$(ENGINE)),dev-objects,bench)
	$(if $(filter objects,$(ENGINE)),.venv/bin/python -m bench.objects --seconds $(SECONDS) --rounds $(ROUNDS) --docs docs, \
	    .venv/bin/python -m bench --seconds $(SECONDS) --rounds $(ROUNDS) --only '$(CASES)' --peers '$(PEERS)' \
	    $(if $(GO),--go '$(GO)') $(if $(DOCS),--docs '$(DOCS)'))

# S3 beside SeaweedFS's, with and without fsync, by a client that signs.
bench-s3:
	@./bootstrap.sh dev-objects
	.venv/bin/python -m bench.s3 --rounds $(ROUNDS)
	.venv/bin/python -m bench.s3_parts --rounds $(ROUNDS)

# What a backup by restic asks, beside nginx.
bench-restic:
	@./bootstrap.sh bench
	.venv/bin/python -m bench.restic --rounds $(ROUNDS)

# A server with readers beside nginx with as many processes, on all cores.
READERS ?= 1
WORKERS ?= 0
.PHONY: bench-readers
bench-readers:
	@./bootstrap.sh bench
	.venv/bin/python -m bench.readers --readers $(READERS) --workers $(WORKERS) --seconds $(SECONDS) --rounds $(ROUNDS)

# Very many blobs, in a directory that is made without a server: minutes, three inodes and 12 KB a blob.
BLOBS ?= 1000000
.PHONY: bench-many
bench-many:
	@./bootstrap.sh bench
	.venv/bin/python -m bench.many --blobs $(BLOBS) $(if $(INDEXED),--indexed,--maps) --cold $(if $(FOLDER),--folder '$(FOLDER)')

# All of the above, one after the other, since each wants the machine for itself: an hour and 12 GB.
.PHONY: bench-all
bench-all:
	@for part in bench bench-readers bench-s3 bench-restic bench-many; do $(MAKE) $$part || exit; done
	@$(MAKE) bench ENGINE=objects

# OpenStack Swift's object server as one more peer, in an environment of its own: it pins what we pin, too.
bench-swift:
	@./bootstrap.sh
	.venv/bin/python -m venv .venv-swift
	.venv-swift/bin/python -m pip install --quiet swift==2.38.3

format:
	@./bootstrap.sh test
	.venv/bin/python -m ruff format .
	.venv/bin/python -m ruff check --fix .

# Campaigns: SEED chooses the run, SIZE how long it is (docs/reliability.md says what each does).
SEED ?= 1
.PHONY: mutations fuzz-http

fuzz-http:
	@./bootstrap.sh test
	.venv/bin/python -m tests.http.fuzz --seed $(SEED) --size $(or $(SIZE),500)

.PHONY: model faults crashes rot fuzz

model faults crashes rot fuzz:
	@./bootstrap.sh test
	.venv/bin/python -m tests.campaigns $@ --seed $(SEED) --size $(or $(SIZE),10) --jobs $(JOBS)

mutations:
	@./bootstrap.sh test
	.venv/bin/python -m tests.mutations --seed $(SEED) --size $(or $(SIZE),0) --workers 2

.PHONY: power-cuts torture

power-cuts:
	@./bootstrap.sh test
	$(if $(DEVICE),.venv/bin/python -m tests.cuts.device --seed $(SEED) --size $(or $(SIZE),20), \
	    .venv/bin/python -m tests.cuts.campaign --seed $(SEED) --size $(or $(SIZE),3000))

torture:
	@./bootstrap.sh test
	$(if $(filter objects,$(ENGINE)), \
	    .venv/bin/python -m tests.torture.objects_campaign --seed $(SEED) --size $(or $(SIZE),4), \
	    .venv/bin/python -m tests.torture.campaign --seed $(SEED) --seconds $(or $(SECONDS),120))

clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find common services tests -name __pycache__ -prune -exec rm -rf {} +
