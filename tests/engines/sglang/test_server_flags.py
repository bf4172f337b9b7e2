"""Of a server's arguments those are kept that a measurement depends on; of all others the name at most."""

from __future__ import annotations

import json

import pytest

from ppdsim.engines.sglang.server_flags import ARGUMENTS, KEPT

SECRET = "sk-4f1c"  # noqa: S105 - no secret of anybody
HIDDEN = {
    "custom_headers": {"Authorization": SECRET},
    "model_loader_extra_config": json.dumps({"token": SECRET}),
    "kv_events_config": json.dumps({"endpoint": f"tcp://10.0.0.7:{SECRET}"}),
    "s3_secret": SECRET,
    "api_key": SECRET,
    "admin_api_key": SECRET,
    "model_path": f"/home/{SECRET}/model",
    "download_dir": f"/home/{SECRET}",
    "served_model_name": f"/home/{SECRET}/model",
    "host": SECRET,
    "dist_init_addr": f"{SECRET}:1",
    "otlp_traces_endpoint": f"{SECRET}:4317",
    "a_flag_of_the_next_release": SECRET,
    "log_level": SECRET,
    "env": [SECRET],
}


def test_nothing_that_is_not_listed_is_kept_but_its_name():
    told = {**HIDDEN, "tp_size": 2, "dtype": "bfloat16", "mem_fraction_static": 0.85, "disable_cuda_graph": False}
    kept = KEPT.flags(told)
    assert kept == {"tp_size": 2, "dtype": "bfloat16", "mem_fraction_static": 0.85, "disable_cuda_graph": False}
    assert KEPT.left_out(told) == tuple(sorted(HIDDEN))


@pytest.mark.parametrize(
    "value", [f"/home/{SECRET}", f"http://{SECRET}", f'{{"a": "{SECRET}"}}', "x" * 65, float("nan"), [SECRET], {"a": 1}]
)
def test_a_listed_name_with_another_value_than_a_word_or_a_number_is_not_kept(value):
    assert KEPT.flags({"attention_backend": value}) == {}
    assert KEPT.left_out({"attention_backend": value}) == ("attention_backend",)


def test_names_that_are_no_names_are_counted():
    told = {SECRET + " ": 1, "x" * 65: 1, "": 1, "fine": 1}
    assert KEPT.left_out(told) == ("fine", "3 more")
    assert KEPT.left_out({f"flag_{i}": 1 for i in range(1_200)})[-1] == "200 more"


def test_the_table_names_each_argument_once_and_none_that_tells_who_or_where():
    assert sum(map(len, ARGUMENTS.values())) == len(KEPT.arguments)
    ends = ("_path", "_dir", "_key", "_keyfile", "_password", "_token", "_host", "_addr", "_port", "_config", "_name")
    assert not [name for name in KEPT.arguments if f"_{name}".endswith(ends) and name != "torchao_config"]
