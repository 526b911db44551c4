# `make study` runs a real study, `make test` the tests. Each does all its own set-up.

.PHONY: study test outcomes slurm setup build check clean

STUDY ?= mini

study: build
	cargo run --release --quiet -p gauntlet-runner -- run $(STUDY)

test: setup
	cargo test --workspace

# Opens a small study's outcomes.parquet with DuckDB, and counts transfer.csv from it.
outcomes: setup
	python3 -m venv target/duckdb
	target/duckdb/bin/pip install --quiet duckdb==2.0.1
	cargo test --workspace --no-run --quiet
	rm -rf target/duckdb/few
	target/debug/runner run tests/duckdb/few.toml --out target/duckdb/few >/dev/null
	target/duckdb/bin/python tests/duckdb/count.py target/duckdb/few

# A study as job arrays on a Slurm cluster of this one machine, installed if need be; a running task is killed.
slurm: build
	tests/slurm/cluster.sh

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
	cargo clippy -p gauntlet-runner --no-default-features --lib -- -D warnings

clean:
	cargo clean
