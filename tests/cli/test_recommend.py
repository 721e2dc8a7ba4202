from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    publish_tiny_bundle(root)
    return root


def test_spaces_around_the_ids_of_a_history_do_not_matter(dimerec: Run, root: Path) -> None:
    close, wide = (
        dimerec("recommend", "--bundles", root, "--history", history)
        for history in ("1050,1181,1172", " 1050, 1181 ,\t1172 ")
    )
    assert (close.code, wide.code) == (0, 0)
    assert "source: personal" in close.out
    assert wide.out == close.out
    assert dimerec("recommend", "--bundles", root, "--history", "1050").out != close.out


@pytest.mark.parametrize(("history", "place"), [("", 1), (" ", 1), ("1050,,1181", 2), ("1050,1181,", 3)])
def test_an_empty_id_in_a_history_is_refused(dimerec: Run, root: Path, history: str, place: int) -> None:
    done = dimerec("recommend", "--bundles", root, "--history", history)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"dimerec: --history: id {place} is empty; give item ids separated by single commas\n"


def test_a_file_for_many_users_has_everybody_once(dimerec: Run, root: Path, tmp_path: Path) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "out.parquet"
    users = [f"u{number:03}" for number in range(600)]
    rows = [(user, str(1001 + place % 200), place % 7) for place, user in enumerate(3 * users)]
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(log)
    common = ("recommend", "--bundles", root, "--events", log, "-k", 2)
    done = dimerec(*common, "--out", out)
    assert done.out == f"1,200 recommendations for 600 users → {out}\n"
    table = pl.read_parquet(out)
    assert table["user_id"].to_list() == sorted(2 * users)
    assert table["rank"].to_list() == [1, 2] * 600
    for user in ("u000", "u256", "u599"):
        alone = [
            line.split("│")[2].strip() for line in dimerec(*common, "--user", user).out.splitlines()[4:6]
        ]
        assert table.filter(user_id=user)["item_id"].to_list() == alone
