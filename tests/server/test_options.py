"""The machinery of options, with a group of its own that has every kind of option."""

from __future__ import annotations

import argparse
import dataclasses
import math
import unittest
from pathlib import Path
from typing import Any, Literal

from django_daphne.server.exceptions import ConfigurationError
from django_daphne.server.options import Group, Option, option
from django_daphne.server.sources import (
    Layer,
    add_group_arguments,
    help_text,
    read_environment,
    read_settings,
    read_values,
)


class KitchenConfig(Group, title="Kitchen"):
    """Hold one option of each kind."""

    plates: int = option(4, help="Plates.", unit="plates", minimum=1, maximum=12, short="-n")
    guests: int | None = option(None, help="Guests.", minimum=0, none_means="nobody counts")
    patience: float | None = option(
        30, help="Patience.", unit="seconds", minimum=0, none_values=(0, -1), none_means="for ever"
    )
    gas: bool = option(False, help="Gas.")
    cook: str = option("Auguste", help="The cook, reliable at 100%.", negatable=True)
    dessert: str | None = option(None, help="Dessert.", rule=lambda value: value != "soup")
    recipe: str | None = option(None, help="The file.", path=True)
    herbs: tuple[str, ...] = option((), help="Herbs.", short="-b", aliases=("--herb_list",))
    heat: Literal["low", "high"] = option("low", help="Heat.", variables=("OVEN_HEAT",))
    shouting: int = option(0, help="Noise.", maximum=3, core_only=True)


OPTIONS = KitchenConfig.options
BY_NAME = {item.name: item for item in OPTIONS}


def parse(*arguments: str) -> dict[str, Any]:
    """Return what argparse makes of the arguments with the flags of the kitchen."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_group_arguments(parser, KitchenConfig, core=True)
    return vars(parser.parse_args(arguments))


class DeclarationTests(unittest.TestCase):
    """Everything about an option follows from its field."""

    def test_names(self):
        """The reader of a field knows its flag, its key and its variable."""
        item = BY_NAME["herbs"]
        self.assertEqual(item.flags, ("-b", "--herbs", "--herb_list"))
        self.assertEqual(item.key, "HERBS")
        self.assertEqual(item.environment, ("DJANGO_DAPHNE_HERBS",))
        self.assertEqual(
            BY_NAME["heat"].environment, ("DJANGO_DAPHNE_HEAT", "OVEN_HEAT"), "its own comes first"
        )

    def test_types(self):
        """The annotation says the kind, the choices and whether None is a value."""
        kinds = {name: (item.kind, item.optional) for name, item in BY_NAME.items()}
        self.assertEqual(kinds["plates"], (int, False))
        self.assertEqual(kinds["guests"], (int, True))
        self.assertEqual(kinds["patience"], (float, True))
        self.assertEqual(kinds["gas"], (bool, False))
        self.assertEqual(kinds["herbs"], (tuple, False))
        self.assertEqual(kinds["heat"], (str, False))
        self.assertEqual(BY_NAME["heat"].choices, ("low", "high"))

    def test_defaults_are_normalised(self):
        """The author writes a timeout as a whole number, the reader gets a float."""
        self.assertIsInstance(BY_NAME["patience"].default, float)
        self.assertIsInstance(KitchenConfig().patience, float)

    def test_wrong_default(self):
        """The author of a group cannot declare a default that the option refuses."""
        with self.assertRaisesRegex(ConfigurationError, "plates"):

            class Broken(Group, title="Broken"):
                plates: int = option(0, help="Plates.", minimum=1)

    def test_groups_are_frozen_and_keyword_only(self):
        """The reader of a configuration can neither change it nor mix up its order."""
        with self.assertRaises(dataclasses.FrozenInstanceError):
            KitchenConfig().plates = 5  # type: ignore[misc]  # what the test is about
        with self.assertRaises(TypeError):
            KitchenConfig(5)  # type: ignore[call-arg]  # what the test is about

    def test_groups_check_their_values(self):
        """The embedder makes a group with a wrong value and is told which."""
        with self.assertRaisesRegex(ConfigurationError, r"KitchenConfig\.plates: 13"):
            KitchenConfig(plates=13)

    def test_groups_normalise_their_values(self):
        """The embedder writes -1, a list and a path, and reads what they mean."""
        kitchen: Any = KitchenConfig(patience=-1, recipe=Path("/r"), herbs=["a"])  # type: ignore[arg-type]
        self.assertIsNone(kitchen.patience)
        self.assertEqual(kitchen.recipe, "/r")
        self.assertEqual(kitchen.herbs, ("a",))


class CheckTests(unittest.TestCase):
    """Python values are checked for type and value."""

    ACCEPTED: tuple[tuple[str, Any, Any], ...] = (
        *(("plates", value, value) for value in (1, 12)),
        ("guests", None, None),
        ("guests", 0, 0),
        ("patience", 3, 3.0),
        ("patience", 0.5, 0.5),
        ("patience", None, None),
        ("patience", 0, None),
        ("patience", -1, None),
        ("patience", -1.0, None),
        ("gas", True, True),
        *((name, text, text) for name, text in (("cook", ""), ("dessert", "none"))),
        ("recipe", Path("/tmp/x"), "/tmp/x"),
        ("herbs", [], ()),
        ("herbs", ("a", "b"), ("a", "b")),
        ("heat", "high", "high"),
    )
    REFUSED: tuple[tuple[str, Any], ...] = (
        *(("plates", value) for value in (0, 13, True, "4", 4.0, None)),
        ("guests", -1),
        *(("patience", value) for value in (-2, False, math.nan, math.inf, 10**400, "30")),
        *(("gas", value) for value in (1, None, "yes")),
        ("cook", None),
        ("cook", b"Auguste"),
        ("dessert", ""),
        ("dessert", "soup"),
        ("recipe", "a\0b"),
        ("recipe", b"/tmp/x"),
        ("herbs", "mint"),
        ("herbs", ["mint", 1]),
        ("herbs", {"mint"}),
        ("herbs", None),
        ("heat", "medium"),
        ("heat", ["low"]),
    )

    def test_accepted(self):
        """The project gives values that the options take."""
        for name, value, expected in self.ACCEPTED:
            with self.subTest(name=name, value=value):
                accepted = BY_NAME[name].check(value, "here")
                self.assertEqual(accepted, expected)
                self.assertIs(type(accepted), type(expected))

    def test_refused(self):
        """The project gives wrong values and reads where, what and what is allowed."""
        for name, value in self.REFUSED:
            with self.subTest(name=name, value=repr(value)[:20]):
                with self.assertRaises(ConfigurationError) as caught:
                    BY_NAME[name].check(value, "in the kitchen")
                text = str(caught.exception)
                self.assertTrue(text.startswith(f"in the kitchen: {value!r} is not allowed."))
                self.assertIn("Expected ", text)


class TextTests(unittest.TestCase):
    """Texts of flags and variables are parsed, then checked as values are."""

    ACCEPTED: tuple[tuple[str, str, Any], ...] = (
        ("plates", " 7 ", 7),
        ("guests", "None", None),
        ("patience", "1.5", 1.5),
        ("patience", "1e3", 1000.0),
        ("patience", "-1", None),
        ("patience", "none", None),
        *((("gas", word, True)) for word in ("1", "true", "YES", "on")),
        *((("gas", word, False)) for word in ("0", "False", "no", "off")),
        ("cook", "none", "none"),
        ("cook", " a ", " a "),
        ("dessert", "none", None),
        ("herbs", "mint, dill,,", ("mint", "dill")),
        ("heat", "high", "high"),
    )
    REFUSED = (
        *(("plates", text) for text in ("", "x", "1.0", "1_0", "0x1", "٣", "--1", "9" * 5000)),
        *(("patience", text) for text in ("", "x", "nan", "inf", "1e999", "1_0", "-0.5")),
        *(("gas", text) for text in ("", "2", "none", "enabled")),
        *(("guests", text) for text in ("", "nobody", "-1")),
        ("heat", "HIGH"),
    )

    def test_accepted(self):
        """The operator types what the options take."""
        for name, text, expected in self.ACCEPTED:
            with self.subTest(name=name, text=text):
                self.assertEqual(BY_NAME[name].check(text, "here", text=True), expected)

    def test_refused(self):
        """The operator types something else and is told what was expected."""
        for name, text in self.REFUSED:
            with (
                self.subTest(name=name, text=text[:20]),
                self.assertRaisesRegex(ConfigurationError, r"^here: .* is not allowed\. Expected "),
            ):
                BY_NAME[name].check(text, "here", text=True)

    def test_round_trip(self):
        """The operator copies a value out of a table into a variable."""
        values = [(name, value) for name, value, _ in CheckTests.ACCEPTED]
        values += [(item.name, item.default) for item in OPTIONS]
        for name, value in values:
            with self.subTest(name=name, value=value):
                item = BY_NAME[name]
                # The text "none" is the one value of an optional text that no text can stand for.
                if value != "none":
                    accepted = item.check(value, "here")
                    again = item.check(item.format(accepted), "here", text=True)
                    self.assertEqual(again, accepted)

    def test_what_is_expected(self):
        """The reader is told type, unit, range, choices and the meaning of None."""
        expected = {
            "plates": "a whole number of plates from 1 to 12",
            "guests": "a whole number, at least 0, or none (nobody counts)",
            "patience": "a number of seconds, at least 0, or none or 0 or -1 (for ever)",
            "gas": "True or False",
            "recipe": "a path, or none",
            "herbs": "a list of texts",
            "heat": "one of low, high",
        }
        self.assertEqual({name: BY_NAME[name].expected() for name in expected}, expected)


class FlagTests(unittest.TestCase):
    """argparse takes the flags that the options generate."""

    def test_only_given_flags_appear(self):
        """The operator gives one flag, and nothing else hides what other sources say."""
        self.assertEqual(parse(), {})
        self.assertEqual(parse("-n", "3"), {"plates": "3"})

    def test_every_spelling(self):
        """The operator repeats a list in all its spellings."""
        flags = parse("-b", "mint", "--herbs", "dill", "--herb_list", "basil")
        self.assertEqual(flags, {"herbs": ["mint", "dill", "basil"]})

    def test_negative_numbers(self):
        """The operator writes -1 for never."""
        self.assertEqual(parse("--patience", "-1"), {"patience": "-1"})

    def test_opposites(self):
        """The operator undoes a flag with its --no- form, the last one counting."""
        self.assertEqual(parse("--gas"), {"gas": True})
        self.assertEqual(parse("--gas", "--no-gas"), {"gas": False})
        self.assertEqual(parse("--cook", "Paul", "--no-cook"), {"cook": ""})

    def test_flags_for_the_core_only(self):
        """The operator of a management command has no flag that belongs to the core."""
        self.assertEqual(parse("--shouting", "1"), {"shouting": "1"})
        parser = argparse.ArgumentParser()
        add_group_arguments(parser, KitchenConfig, core=False)
        self.assertEqual(parser.parse_known_args(["--shouting", "1"])[1], ["--shouting", "1"])

    def test_help(self):
        """The operator reads the default with its unit, and a percent sign as one."""
        parser = argparse.ArgumentParser()
        add_group_arguments(parser, KitchenConfig, core=True)
        text = " ".join(parser.format_help().split())
        self.assertIn("Kitchen:", text)
        self.assertIn("Plates. (default: 4 plates)", text)
        self.assertIn("Guests. (default: none, nobody counts)", text)
        self.assertIn("The cook, reliable at 100%. (default: Auguste)", text)
        self.assertIn("{low,high}", text)

    def test_help_with_an_outcome(self):
        """The operator reads what happens beyond a limit."""
        item = BY_NAME["plates"]._replace(outcome="the table breaks")
        self.assertEqual(
            help_text(item), "Plates. Beyond it: the table breaks. (default: 4 plates)"
        )

    def test_values_of_flags(self):
        """The command hands over texts, lists, truth values and Python values alike."""
        flags = {"plates": "3", "herbs": "mint", "gas": True, "patience": 2, "guests": None}
        layer = read_values(OPTIONS, flags, flags=True)
        self.assertEqual(layer.problems, [])
        self.assertEqual(
            layer.values,
            {
                "plates": (3, "flag --plates"),
                "herbs": (("mint",), "flag --herbs"),
                "gas": (True, "flag --gas"),
                "patience": (2.0, "flag --patience"),
                "guests": (None, "flag --guests"),
            },
        )

    def test_unknown_name(self):
        """The embedder misspells an option and gets the nearest name."""
        (problem,) = read_values(OPTIONS, {"plate": 3}).problems
        self.assertEqual(str(problem), "no option 'plate'. Did you mean plates?")


class EnvironmentTests(unittest.TestCase):
    """Variables with the prefix are read; what is not ours is left alone."""

    def read(self, **environ: str) -> Layer:
        return read_environment(OPTIONS, {f"DJANGO_DAPHNE_{k}": v for k, v in environ.items()})

    def test_values(self):
        """The operator sets variables of every kind."""
        layer = self.read(PLATES="3", HERBS="mint,dill", GAS="on", DESSERT="none")
        self.assertEqual(
            layer.plain(), {"plates": 3, "herbs": ("mint", "dill"), "gas": True, "dessert": None}
        )
        self.assertEqual(layer.values["plates"][1], "environment DJANGO_DAPHNE_PLATES")
        self.assertEqual((layer.problems, layer.warnings), ([], []))

    def test_problems(self):
        """The operator sets a wrong value and is told the name of the variable."""
        (problem,) = self.read(PLATES="many").problems
        self.assertEqual(
            str(problem),
            "environment DJANGO_DAPHNE_PLATES: 'many' is not allowed. "
            "Expected a whole number of plates from 1 to 12.",
        )

    def test_empty_variables(self):
        """The operator sets empty variables: an empty cook is a value, empty plates are not."""
        layer = self.read(PLATES="", GUESTS="", GAS="", HERBS="", HEAT="", DESSERT="", COOK="")
        self.assertEqual(layer.plain(), {"cook": ""})
        self.assertEqual(layer.problems, [])

    def test_further_variables(self):
        """The operator sets a variable of another name, which counts after our own."""
        layer = read_environment(OPTIONS, {"OVEN_HEAT": "high"})
        self.assertEqual(layer.values["heat"], ("high", "environment OVEN_HEAT"))
        layer = read_environment(OPTIONS, {"OVEN_HEAT": "high", "DJANGO_DAPHNE_HEAT": "low"})
        self.assertEqual(layer.values["heat"], ("low", "environment DJANGO_DAPHNE_HEAT"))

    def test_unknown_variables(self):
        """The operator misspells a variable and is warned, with the nearest name."""
        layer = self.read(PLATE="3")
        (warning,) = layer.warnings
        self.assertIn("DJANGO_DAPHNE_PLATE is not a known variable", warning.text)
        self.assertEqual(warning.hint, "Did you mean DJANGO_DAPHNE_PLATES?")
        self.assertEqual((layer.plain(), layer.problems), ({}, []))

    def test_core_only(self):
        """The operator cannot set by a variable what is a flag alone."""
        layer = self.read(SHOUTING="3")
        self.assertEqual((layer.plain(), len(layer.warnings)), ({}, 1))

    def test_other_variables(self):
        """The system has variables of other programs, which are nothing to us."""
        layer = read_environment(OPTIONS, {"PLATES": "3", "DAPHNE_PLATES": "3", "PATH": "/bin"})
        self.assertEqual(layer, Layer())


class SettingsTests(unittest.TestCase):
    """Keys of settings.DAPHNE are field names in upper case."""

    def test_values(self):
        """The project sets Python values."""
        layer = read_settings(OPTIONS, {"PLATES": 3, "HERBS": ["mint"]})
        self.assertEqual(layer.values["plates"], (3, "settings.DAPHNE['PLATES']"))
        self.assertEqual(layer.plain(), {"plates": 3, "herbs": ("mint",)})

    def test_all_problems(self):
        """The project makes three mistakes and learns of all of them."""
        layer = read_settings(OPTIONS, {"PLATES": "3", "plates": 3, 7: 7})
        self.assertEqual([p.kind for p in layer.problems], ["value", "unknown", "unknown"])
        self.assertEqual(layer.problems[1].hint, "Did you mean PLATES?")

    def test_core_only(self):
        """The project sets what is a flag alone."""
        (problem,) = read_settings(OPTIONS, {"SHOUTING": 3}).problems
        self.assertEqual(problem.kind, "unknown")

    def test_not_a_dictionary(self):
        """The project sets DAPHNE to something else."""
        values: tuple[object, ...] = (None, [], "PLATES=3", 1)
        for value in values:
            with self.subTest(value=value):
                (problem,) = read_settings(OPTIONS, value).problems
                self.assertEqual(problem.kind, "type")
                self.assertIn(type(value).__name__, problem.text)


class OptionTests(unittest.TestCase):
    """An option is a value itself."""

    def test_frozen(self):
        """The reader of an option cannot change it."""
        item: Option = BY_NAME["plates"]
        with self.assertRaises(AttributeError):
            item.minimum = 0  # type: ignore[misc]  # what the test is about
