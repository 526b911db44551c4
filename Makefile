# `make study` runs a study, `make test` the tests. Every target does its own set-up.

.PHONY: study test outcomes s3 latex slurm soak fuzz leaks deny advisories setup build check clean

STUDY ?= mini

study: build
	cargo run --release --quiet -p gauntlet-runner -- run $(STUDY)

# The last lines name the tests that failed, and where their output is.
test: setup
	@.ci/tests cargo test --workspace --no-fail-fast

# Opens the outcomes.parquet of a small study with DuckDB and counts transfer.csv from it.
outcomes: setup
	python3 -m venv target/duckdb
	target/duckdb/bin/pip install --quiet duckdb==2.0.1
	cargo test --workspace --no-run --quiet
	rm -rf target/duckdb/few
	target/debug/runner run tests/duckdb/few.toml --out target/duckdb/few >/dev/null
	target/duckdb/bin/python tests/duckdb/count.py target/duckdb/few

# Compiles the tables.tex of a small study, whose labels have all special characters, with LaTeX.
latex: setup
	@command -v pdflatex >/dev/null || { echo "pdflatex is missing (Debian: apt-get install texlive-latex-base texlive-latex-recommended)"; exit 1; }
	cargo build -p gauntlet-runner
	rm -rf target/latex
	target/debug/runner run tests/latex/labels.toml --out target/latex/results >/dev/null
	cp tests/latex/paper.tex target/latex
	cd target/latex && pdflatex -interaction=nonstopmode -halt-on-error paper.tex >paper.out || { grep -A 5 "^!" paper.out; exit 1; }

# Tests machines that share a bucket, on an S3 server of this machine (moto's).
s3: setup
	python3 -m venv target/moto
	target/moto/bin/pip install --quiet 'moto[server]==5.2.5'
	MOTO=$(CURDIR)/target/moto/bin/moto_server cargo test -p gauntlet-tests --test object_store

# Runs a study as job arrays on a Slurm cluster of this one machine, and kills a running task.
# Installs Slurm if it is missing. Needs root.
slurm: build
	tests/slurm/cluster.sh

# The targets below are no part of `test`: they take long or need more. RELIABILITY.md and
# SECURITY.md report what they gave.

# Faults of every kind; tests/soak/main.rs lists the variables (ROUNDS, SEED, ONLY, ROUND, RUNNER).
# Needs root.
soak: setup
	cargo build -p gauntlet-runner
	cargo test -p gauntlet-tests --test soak

# Fuzzes each reader of other people's files for SECONDS. Needs `cargo install cargo-fuzz`.
SECONDS ?= 3600
# Cells are fuzzed without their checksum, so Parquet's reader may take long for one. That is known,
# and fuzzing goes on after it.
PATIENT = -fork=1 -ignore_ooms=0
TARGETS ?= stamp format graphdef safetensors study image labels cell boundary
fuzz: setup
	@cargo fuzz --version >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz"; exit 1; }
	cd tests && for target in $(TARGETS); do \
		more=; [ $$target != cell ] || more="$(PATIENT)"; \
		mkdir -p fuzz/corpus/$$target && \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=4096 -max_len=65536 $$more || exit 1; \
	done

# Uses plugins 10,000 times, then fewer times under valgrind. The option `--soname-synonyms` makes
# valgrind replace jemalloc too, which is part of the program.
VALGRIND = valgrind --soname-synonyms=somalloc=NONE --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9
leaks: setup
	cargo test -p gauntlet-tests --test leaks
	@command -v valgrind >/dev/null || { echo "valgrind is missing (Debian: apt-get install valgrind)"; exit 1; }
	CALLS=20 cargo test -p gauntlet-tests --test leaks --config 'target."cfg(unix)".runner = "$(VALGRIND)"'

# Licences, bans and sources of dependencies. Needs `cargo install cargo-deny`.
deny:
	cargo deny check licenses bans sources

# Known weaknesses of dependencies. Fetches their database.
advisories:
	cargo deny check advisories

setup:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup"; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || { echo "a C++ compiler is missing (Debian: apt-get install g++), or set CXX"; exit 1; }
	@command -v python3 >/dev/null || { echo "python3 is missing: it fetches libtorch (Debian: apt-get install python3 python3-pip)"; exit 1; }
	@python3 .cargo/libtorch.py >/dev/null

build: setup
	cargo build --release -p gauntlet-runner

check: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p gauntlet-tests --test soak --test leaks -- -D warnings
	cargo clippy -p gauntlet-runner --no-default-features --lib -- -D warnings
	cd tests/fuzz && GAUNTLET_FUZZING=1 CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-../../target}" cargo check --quiet --locked
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet -p gauntlet-core -p gauntlet-plugins -p gauntlet-modern -p gauntlet-runner

clean:
	cargo clean
