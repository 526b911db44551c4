"""Opens the outcomes.parquet of a results folder with DuckDB and counts transfer.csv from it.

python tests/duckdb/count.py RESULTS
"""

import csv
import pathlib
import sys

import duckdb

MEMBERS = {
    "all": "true",
    "source_correct": "source_clean = label",
    "source_success": "source_success{bits}",
    "target_correct": "source_clean = label and target_correct",
    "both": "source_success{bits} and target_correct",
    "all_correct": "all_correct",
    "control": "source_clean = label and control_correct{bits}",
}


def main(results: pathlib.Path) -> None:
    duckdb.read_parquet(str(results / "outcomes.parquet")).create_view("outcomes")
    compared = 0
    with open(results / "transfer.csv", newline="") as file:
        for line in csv.DictReader(file):
            bits = "" if line["pixels"] == "float" else "_8bit"
            hit = f"{'success' if line['match'] == 'top1' else 'top5'}{bits}"
            for name, member in MEMBERS.items():
                query = f"""
                    select count(*), coalesce(sum({hit}::int), 0) from outcomes
                    where source = ? and target = ? and attack = ? and goal = ?
                        and {member.format(bits=bits)}"""
                key = [line[column] for column in ("source", "target", "attack", "goal")]
                found = duckdb.execute(query, key).fetchone()
                expected = (int(line[f"images_{name}"]), int(line[f"transferred_{name}"]))
                if found != expected:
                    sys.exit(f"{line}\n{name}: DuckDB counts {found}, transfer.csv says {expected}")
                compared += 1
    (rows,) = duckdb.execute("select count(*) from outcomes").fetchone()
    print(f"{rows} outcomes; {compared} pairs of counts agree with transfer.csv")
    if compared == 0:
        sys.exit("nothing was compared")


main(pathlib.Path(sys.argv[1]))
