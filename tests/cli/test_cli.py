"""The command line: what it prints and writes, and how it ends where something is wrong."""

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from jsonargparse import ArgumentParser
from rich.console import Console
from torch import nn

import naivegraph as ng
from naivegraph import demo
from naivegraph.cli import commands, main
from naivegraph.cli.command_line import build_parser
from naivegraph.cli.help_examples import DEMO_EXAMPLES, INSPECT_EXAMPLES, PRUNE_EXAMPLES
from naivegraph.cli.load_network import build_model, example_inputs
from naivegraph.cli.usage_errors import UsageError
from naivegraph.progress import working

DIGITS = ("naivegraph.demo:DigitsNet", "--arguments", '{"width": 8}', "--shape", "1,1,8,8")


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty current folder."""
    monkeypatch.chdir(tmp_path)


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that has to fail, and return its one sentence."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("naivegraph: ")
    assert err.count("\n") == 1
    return err


class TestPrune:
    def test_prints_costs_and_certificate_and_saves_what_it_pruned(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.manual_seed(0)
        trained = demo.DigitsNet(width=8)
        safetensors.torch.save_file(trained.state_dict(), "trained.safetensors")
        words = (
            "prune",
            *DIGITS,
            "--weights",
            "trained.safetensors",
            "--macs",
            "0.5",
            "--output",
            "half.safetensors",
        )
        assert main(words) == 0
        out = capsys.readouterr().out
        expected = demo.DigitsNet(width=8).eval()
        expected.load_state_dict(trained.state_dict())
        image = torch.randn(1, 1, 8, 8)
        edit = ng.prune(expected, (image,), macs=0.5)
        assert f"{edit.before.macs:,}" in out
        assert f"{edit.after.macs:,}" in out
        assert "Certificate: " in out
        assert "half.safetensors" in out
        loaded = demo.DigitsNet(width=8).eval()
        ng.load(loaded, "half.safetensors")
        assert torch.equal(loaded(image), expected(image))

    def test_json_alone_is_on_stdout_and_tells_what_the_table_does(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = (
            "prune",
            *DIGITS,
            "--macs",
            "0.5",
            "--json",
            "--gap",
            "0.01",
            "--time-limit",
            "5",
            "--seed",
            "3",
        )
        assert main(words) == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        torch.manual_seed(3)
        net = demo.DigitsNet(width=8).eval()
        edit = ng.prune(net, torch.randn(1, 1, 8, 8), macs=0.5, gap=0.01, time_limit=5)
        assert found["after"] == {"macs": edit.after.macs, "params": edit.after.params}
        assert found["sizes"] == {name: [row.before, row.after] for name, row in edit.sizes.items()}
        assert found["certificate"]["gap"] <= 0.01
        assert "no --weights were given, so what was pruned is what naivegraph.demo:DigitsNet makes" in err

    @pytest.mark.parametrize("name", ["half.pt", "half.onnx", "half"])
    def test_the_name_of_a_file_says_what_is_in_it(
        self, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        err = fails(capsys, "prune", *DIGITS, "--macs", "0.5", "--output", name)
        assert f"--output {name}: a .safetensors file is written" in err
        assert not Path(name).exists()

    def test_a_saved_file_is_open_to_those_that_other_files_are(self) -> None:
        assert main(["prune", *DIGITS, "--macs", "0.5", "--output", "half.safetensors"]) == 0
        Path("other").touch()
        assert Path("half.safetensors").stat().st_mode == Path("other").stat().st_mode

    @pytest.mark.parametrize("named", [(), ("blocks.*",)])
    def test_branches(self, named: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        asked = ("--macs", "0.4", "--at-least", "1.0", "--depth", *named)
        assert main(("prune", *DIGITS, *asked, "--output", "small.safetensors")) == 0
        assert "left out" in capsys.readouterr().out

    def test_whole_layers_as_the_config_counts_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("transformers")
        sizes = (
            "hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, vocab_size=30"
        )
        made = f"LlamaForCausalLM(LlamaConfig({sizes}))"
        lines = [
            "from transformers import LlamaConfig, LlamaForCausalLM",
            "def build():",
            f"    return {made}",
        ]
        (tmp_path / "small_decoder.py").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(tmp_path))
        asked = ("--params", "0.7", "--at-least", "1.0", "--depth", "--uniform", "--output", "d.safetensors")
        assert main(("prune", "small_decoder:build", "--shape", "int64:1,6", *asked)) == 0
        assert "left out" in capsys.readouterr().out
        loaded: Any = ng.load(build_model("small_decoder:build"), "d.safetensors")
        assert loaded.config.num_hidden_layers == len(loaded.model.layers) < 3

    def test_absolute_budgets_rounding_and_keep(self, capsys: pytest.CaptureFixture[str]) -> None:
        full = sum(parameter.numel() for parameter in demo.DigitsNet(width=8).parameters())
        budget = ("--params", "8e3", "--round-to", "4", "--keep", "stem*", "blocks.3*")
        assert main(("prune", *DIGITS, *budget, "--output", "small.safetensors")) == 0
        capsys.readouterr()
        loaded = demo.DigitsNet(width=8)
        ng.load(loaded, "small.safetensors")
        assert full > 8000 >= sum(parameter.numel() for parameter in loaded.parameters())
        assert loaded.head.in_features == 16
        sizes = [module.out_channels for module in loaded.modules() if isinstance(module, nn.Conv2d)]
        assert [size % 4 for size in sizes] == [0] * len(sizes)

    def test_budgets_by_the_name_of_a_cost(self, capsys: pytest.CaptureFixture[str]) -> None:
        for words in (("--macs", "0.5", "--params", "8e3"), ("--budget", "macs=0.5", "params=8e3")):
            torch.manual_seed(0)
            assert main(("prune", *DIGITS, *words)) == 0
        short, named = re.split(r"(?<=best\.|s is\.)\n", capsys.readouterr().out.rstrip())[:2]
        assert short == named

    def test_config_file_and_a_value_that_overrides_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("prune.yaml").write_text(
            "model: naivegraph.demo:DigitsNet\narguments: {width: 8}\nshape: ['1,1,8,8']\nparams: 0.5\n"
            "output: a.safetensors\n"
        )
        assert main(("prune", "--config", "prune.yaml")) == 0
        assert main(("prune", "--config", "prune.yaml", "--params", "0.8", "--output", "b.safetensors")) == 0
        capsys.readouterr()
        assert Path("a.safetensors").stat().st_size < Path("b.safetensors").stat().st_size

    def test_impossible_budget_writes_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        sentence = fails(capsys, "prune", *DIGITS, "--macs", "10", "--output", "none.safetensors")
        assert re.search(r"at least [\d,]+ macs remain", sentence)
        assert not Path("none.safetensors").exists()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--macs", "0"), r"macs"),
            (("--macs", "1.5"), r"macs"),
            (("--macs", "many"), r"--macs is to be a number, but is 'many'"),
            (
                ("--macs", "0.5", "--round-to", "1.5"),
                r"--round-to is to be a whole number or auto, but is '1.5'",
            ),
            (("--macs", "0.5", "--keep", "nowhere"), r"nowhere"),
            (("--macs", "0.5", "--utility", "nothing"), r"there is no utility 'nothing' among l2"),
            (("--macs", "0.5", "--backend", "higs"), r"no solver 'higs' .* did you mean 'highs'"),
            (("--macs", "0.5", "--output", "no/such/folder.safetensors"), r"there is no folder .*no/such"),
            ((), r"--macs 0.5, --params 0.5, --latency 0.5 or --ratio 0.5"),
            (("--budget", "macs"), r"such as macs=0.5, not 'macs'"),
            (("--budget", "mac=0.5"), r"there is no cost 'mac'; did you mean 'macs'\?"),
            (("--budget", "macs=many"), r"macs is to be a number, but is 'many'"),
            (("--budget", "macs=0.5", "macs=9"), r"--budget names macs twice"),
            (("--budget", "macs=0.5", "--macs", "0.4"), r"two budgets of macs were given, 0.4 and 0.5"),
        ],
    )
    def test_bad_requests(
        self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
    ) -> None:
        assert re.search(message, fails(capsys, "prune", *DIGITS, *words))


class TestInspect:
    def test_names_the_widths_and_the_reasons(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(("inspect", *DIGITS)) == 0
        out = capsys.readouterr().out
        assert "blocks.0.conv1" in out
        assert "input" in out

    def test_finds_models_in_the_current_folder_only_while_it_runs(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("nets_of_mine.py").write_text(
            "from torch import nn\ndef make(width):\n"
            "    return nn.Sequential(nn.Embedding(9, width), nn.Linear(width, 6), nn.Linear(6, 2))\n"
        )
        path = list(sys.path)
        words = ("inspect", "nets_of_mine:make", "--arguments", '{"width": 5}', "--shape", "int64:1,16")
        assert main(words) == 0
        assert sys.path == path
        assert capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--shape", "1,1,8,8"), r"name a model"),
            (("DigitsNet", "--shape", "1"), r"'DigitsNet' names no model: write package.module:function"),
            (("nowhere.nets:make", "--shape", "1"), r"there is no module 'nowhere'"),
            (("naivegraph.demo:DigitNet", "--shape", "1"), r"has no 'DigitNet'; did you mean 'DigitsNet'"),
            (("naivegraph.demo:SEED", "--shape", "1"), r"is a int; name a function or class"),
            (("builtins:dict", "--shape", "1"), r"made a dict, not a torch.nn.Module"),
            (
                ("naivegraph.demo:DigitsNet", "--arguments", "{bad: 1}", "--shape", "1"),
                r"unexpected keyword.*'bad'",
            ),
            (("naivegraph.demo:DigitsNet", "--arguments", "8", "--shape", "1"), r"--arguments is to be JSON"),
            (("naivegraph.demo:DigitsNet",), r"give its shape, such as --shape 1,3,224,224"),
            (("naivegraph.demo:DigitsNet", "--shape", "1x3"), r"'1x3' is no shape"),
            (
                ("naivegraph.demo:DigitsNet", "--shape", "whole:1,3"),
                r"'whole' in 'whole:1,3' is no torch dtype",
            ),
            (("naivegraph.demo:DigitsNet", "--shape", "int7:1,3"), r"an input 'int7:1,3' cannot be made"),
            (("naivegraph.demo:DigitsNet", "--shape", "1,3,8,8"), r"channels"),
            (
                ("naivegraph.demo:DigitsNet", "--shape", "1,1,8,8", "--weights", "none.pt"),
                r"no weights file none.pt",
            ),
            (("naivegraph.demo:DigitsNet", "--shape", "1,1,8,8", "--config", "none.yaml"), r"none.yaml"),
            (("naivegraph.demo:DigitsNet", "--shapes", "1"), r"--shapes"),
        ],
    )
    def test_bad_words(
        self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
    ) -> None:
        assert re.search(message, fails(capsys, "inspect", *words))

    @pytest.mark.parametrize("words", [(), ("bogus",)])
    def test_commands_are_named_where_none_is_given(
        self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
    ) -> None:
        assert re.search("inspect.*prune.*profile", fails(capsys, *words))

    def test_debug_raises_the_error_itself(self) -> None:
        with pytest.raises(UsageError, match="there is no module 'nowhere'"):
            main(("inspect", "nowhere:make", "--shape", "1", "--debug"))


class TestModels:
    def test_a_name_without_an_attribute_goes_to_create_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("zoo_of_mine.py").write_text(
            "from torch import nn\nknown = {'tiny': 3}\n"
            "def create_model(name, outputs=2):\n    return nn.Linear(known[name], outputs)\n"
            "ready = nn.ReLU()\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        assert repr(build_model("zoo_of_mine:tiny", {"outputs": 7})) == repr(nn.Linear(3, 7))
        assert repr(build_model("zoo_of_mine:create_model", {"name": "tiny"})) == repr(nn.Linear(3, 2))
        assert isinstance(build_model("zoo_of_mine:ready"), nn.ReLU)
        with pytest.raises(UsageError, match="takes no --arguments"):
            build_model("zoo_of_mine:ready", {"inplace": True})
        with pytest.raises(UsageError, match=r"'zoo_of_mine:huge' could not be built .*KeyError: 'huge'"):
            build_model("zoo_of_mine:huge")

    def test_a_module_that_fails_to_import(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("broken_of_mine.py").write_text("import not_there_at_all\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(UsageError, match=r"'broken_of_mine' could not be imported.*not_there_at_all"):
            build_model("broken_of_mine:make")

    def test_inputs_are_the_same_every_time_and_have_what_was_asked(self) -> None:
        shapes = ["2,3", "float64:4", "int64:1,16", "mask=bool:1,16"]
        (image, double, tokens), named = example_inputs(shapes)
        assert image.shape == (2, 3)
        assert (double.dtype, tokens.dtype, named["mask"].dtype) == (torch.float64, torch.int64, torch.bool)
        assert tokens.min() == tokens.max() == 1
        assert image.std() > 0
        assert torch.equal(example_inputs(shapes)[0][0], image)


class TestHelp:
    @pytest.mark.parametrize("command", ["inspect", "prune", "demo"])
    def test_shows_examples_as_they_are_written(
        self, capsys: pytest.CaptureFixture[str], command: str
    ) -> None:
        with pytest.raises(SystemExit, match="0"):
            main((command, "--help"))
        out = capsys.readouterr().out
        examples = {"inspect": INSPECT_EXAMPLES, "prune": PRUNE_EXAMPLES, "demo": DEMO_EXAMPLES}[command]
        assert examples in out

    @pytest.mark.parametrize(
        "line",
        [
            line.strip()
            for line in (INSPECT_EXAMPLES + PRUNE_EXAMPLES).splitlines()
            if line.startswith("  naivegraph") and "naivegraph.demo" in line
        ],
    )
    def test_examples_work(self, capsys: pytest.CaptureFixture[str], line: str) -> None:
        words = shlex.split(line)[1:]
        np.savez("digits.npz", x=np.random.default_rng(0).random((20, 1, 8, 8), np.float32))
        assert main(words) == 0
        assert capsys.readouterr().out
        if "--output" in words:
            assert Path(words[words.index("--output") + 1]).is_file()

    @pytest.mark.parametrize("command", ["inspect", "explain", "prune", "demo"])
    def test_options_are_the_parameters_of_the_functions(self, command: str) -> None:
        parser = build_parser()
        options = set(parser.parse_args([command])[command].keys()) - {"config", "debug"}
        assert options == set(inspect.signature(getattr(commands, command)).parameters)
        assert isinstance(parser, ArgumentParser)

    def test_commands_of_the_readme_are_understood(self) -> None:
        readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
        lines = re.findall(r"(?m)^naivegraph ((?:inspect|prune|demo)\b.*)$", readme)
        parsed = [build_parser().parse_args(shlex.split(line)).command for line in lines]
        assert {"inspect", "prune"} <= set(parsed)

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="0"):
            main(("--version",))
        assert capsys.readouterr().out.split() == ["naivegraph", ng.__version__]

    def test_as_a_process_of_its_own(self, tmp_path: Path) -> None:
        Path("lonely_nets.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(3, 'x')\n")
        words = [sys.executable, "-m", "naivegraph", "inspect", "lonely_nets:make", "--shape", "1,3"]
        environment = {**os.environ, "PYTHONPATH": str(Path(ng.__file__).parent.parent)}
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert re.fullmatch(r"naivegraph: 'lonely_nets:make' could not be built .*TypeError.*\n", done.stderr)


class TestDemo:
    def test_halves_the_work_and_loads_what_it_saved(self, tmp_path: Path) -> None:
        with open(tmp_path / "printed", "w", encoding="utf-8") as file:
            path = tmp_path / "digits.safetensors"
            outcome = demo.run(Console(file=file, width=100), output=path, epochs=3, tuning_epochs=3)
        before, pruned, tuned = outcome.rows
        assert outcome.equal
        assert path.is_file()
        assert before.correct > 0.9 * demo.TEST_IMAGES
        assert tuned.correct > 0.9 * demo.TEST_IMAGES > pruned.correct
        assert 0.99 * before.costs.macs <= 2 * pruned.costs.macs <= before.costs.macs
        assert tuned.costs == pruned.costs
        printed = (tmp_path / "printed").read_text(encoding="utf-8")
        assert f"{pruned.costs.macs:,}" in printed
        assert "the same outputs, bit for bit" in printed
        assert "Certificate: " in printed

    def test_train_and_test_images_are_apart(self) -> None:
        digits = demo.load_digits()
        assert len(digits.train_images) + len(digits.test_images) == 1797
        assert 0 == digits.train_images.min() < digits.train_images.max() == 1
        again = demo.load_digits()
        assert torch.equal(again.test_images, digits.test_images)

    def test_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
        assert main(("demo",)) == 2
        assert "pip install 'naivegraph[demo]'" in capsys.readouterr().err


class TestProgress:
    def test_speaks_only_when_it_takes_long(self, tmp_path: Path) -> None:
        with open(tmp_path / "printed", "w", encoding="utf-8") as file:
            console = Console(file=file)
            with working("quick work", console):
                pass
            with working("slow work", console, patience=0.0) as say:
                say("still slow")
                while not (tmp_path / "printed").read_text(encoding="utf-8"):
                    file.flush()
        printed = (tmp_path / "printed").read_text(encoding="utf-8")
        assert re.fullmatch(r"(slow work|still slow) \.\.\.\n", printed)
