"""Packages that are middleware."""

from __future__ import annotations

from .exchange import Ask, both, log_in
from .support import AddonTestCase, needs

FRIEND = {"Origin": "https://friend.example"}
STRANGER = {"Origin": "https://stranger.example"}


@needs()
class PlainTests(AddonTestCase):
    """Django alone, as `startproject` makes it."""

    def test_same(self):
        """The clients get the same answers from both servers."""
        self.assert_same()


@needs("whitenoise")
class WhiteNoiseTests(AddonTestCase):
    """WhiteNoise: static files from a middleware that is for sync only."""

    parts = ("whitenoise",)
    asks = (
        Ask("/static/style.css"),
        Ask("/static/style.css", method="HEAD"),
        Ask("/static/style.css", headers={"Range": "bytes=5-9"}),
        Ask("/static/style.css", headers={"Range": "bytes=5000-"}),
        Ask("/static/style.css", headers={"If-Modified-Since": "Fri, 01 Jan 2038 00:00:00 GMT"}),
        Ask("/static/style.css", method="POST"),
        Ask("/static/absent.css"),
    )

    def test_same(self):
        """The browser gets files, parts of them and views from both servers the same."""
        answers = self.assert_same().answers
        statuses = [answer["status"] for answer in answers if "/static/style" in answer["asked"]]
        self.assertEqual(statuses, [200, 200, 206, 416, 304, 405])


@needs("corsheaders")
class CorsTests(AddonTestCase):
    """django-cors-headers: a dual middleware that answers some requests itself."""

    parts = ("cors",)
    asks = (
        *both("/*/friend", headers=FRIEND),
        *both("/*/stranger", headers=STRANGER),
        *both(
            "/*/friend",
            method="OPTIONS",
            headers={**FRIEND, "Access-Control-Request-Method": "PUT"},
        ),
        *both("/fail/*/friend", headers=FRIEND),
        *both("/refuse/*/missing", headers=FRIEND),
    )

    def test_same(self):
        """The page of another site is let in, or not, by both servers the same."""
        text = str(self.assert_same().answers)
        self.assertIn("access-control-allow-origin: https://friend.example", text)
        self.assertNotIn("https://stranger.example", text)


@needs("django_htmx")
class HtmxTests(AddonTestCase):
    """django-htmx: a dual middleware that adds to the request."""

    parts = ("htmx",)
    asks = both("/*/part", headers={"HX-Request": "true", "HX-Target": "list"})

    def test_same(self):
        """The part of a page asks: views of both servers know it."""
        self.assertIn('"htmx": [true, "list"]', str(self.assert_same().answers))


@needs("csp")
class CspTests(AddonTestCase):
    """django-csp: hooks alone."""

    parts = ("csp",)

    def test_same(self):
        """The browser gets the policy, with the nonce that the view has seen."""
        text = str(self.assert_same().answers)
        self.assertIn("script-src 'self' 'nonce-<random 0>'", text)
        self.assertIn('"nonce": "<random 0>"', text)


@needs("waffle")
class WaffleTests(AddonTestCase):
    """django-waffle: hooks alone, and cookies."""

    parts = ("waffle",)
    asks = (
        *both("/*/trying?dwft_tried=1"),
        *both("/*/remembered"),
        *both("/*/again?dwft_tried=0"),
        *both("/*/mine", "ann"),
        *both("/*/hers", "bob"),
    )

    def test_same(self):
        """The visitor tries a flag: both servers remember it for this one alone."""
        text = str(self.assert_same().answers)
        self.assertIn('"tried": true, "anns": false', text)
        self.assertIn('"tried": false, "anns": true', text)


@needs("hijack")
class HijackTests(AddonTestCase):
    """django-hijack: hooks alone, and another user."""

    parts = ("hijack",)
    asks = (
        log_in("root", "secret"),
        Ask("/hijack/acquire/", "root", "POST", {"user_pk": "2"}),
        *both("/*/hijacked", "root"),
        *both("/page/*/hijacked", "root"),
        Ask("/hijack/release/", "root", "POST"),
        *both("/*/released", "root"),
    )

    def test_same(self):
        """The administrator looks at the site as Ann does, and then no more."""
        answers = self.assert_same().answers
        seen = [str(answer) for answer in answers if "hijacked by root" in answer["asked"]]
        self.assertEqual(len(seen), 4)
        for text in seen:
            self.assertRegex(text, "ann")


@needs("allauth")
class AllauthTests(AddonTestCase):
    """django-allauth: a dual function that is also asked about exceptions."""

    parts = ("allauth",)
    asks = (
        Ask("/accounts/login/", "eve"),
        Ask("/accounts/login/", "eve", "POST", {"login": "ann", "password": "wrong"}),
        Ask("/accounts/email/", "eve"),
        Ask("/accounts/email/", "ann"),
        Ask("/aside"),
        Ask("/.well-known/change-password"),
    )

    def test_same(self):
        """The user meets allauth's pages, and each view the request that it is about."""
        answers = self.assert_same().answers
        text = str(answers)
        self.assertIn('"is_in_context": true', text)
        self.assertNotIn('"is_in_context": false', text)
        (aside,) = [answer for answer in answers if "/aside" in answer["asked"]]
        self.assertEqual((aside["status"], aside["answer"][-1]), (200, "aside"))


@needs("django_otp")
class OtpTests(AddonTestCase):
    """django-otp: a dual middleware that puts itself around the user."""

    parts = ("otp",)
    asks = (
        Ask("/verify", "ann", "POST", {"token": "token of bob"}),
        Ask("/verify", "bob", "POST", {"token": "token of bob"}),
        *both("/*/verified", "ann"),
        *both("/*/verified", "bob"),
    )

    def test_same(self):
        """The user shows a token: both servers believe that one alone."""
        answers = self.assert_same().answers
        verified = {
            answer["asked"].rpartition(" by ")[2]
            for answer in answers
            if '"is_verified": true' in str(answer)
        }
        self.assertEqual(verified, {"bob"})


@needs("axes")
class AxesTests(AddonTestCase):
    """django-axes: a dual middleware that locks out."""

    parts = ("axes",)
    asks = (
        *(log_in("cleo", wrong) for wrong in ("one", "two", "three")),
        log_in("cleo"),
        log_in("dan"),
    )

    def test_same(self):
        """The user who guesses is locked out by both servers, and the others are not."""
        answers = self.assert_same().answers
        statuses = [answer["status"] for answer in answers if "/login/" in answer["asked"]]
        self.assertEqual(statuses[-5:], [401, 429, 429, 429, 200])


@needs("simple_history", small=True)
class HistoryTests(AddonTestCase):
    """django-simple-history: a dual function that keeps the request aside."""

    parts = ("history",)

    def test_same(self):
        """Four users write at a time: the history has each note from who wrote it."""
        rows = self.assert_same().recorded["history"]
        self.assertGreater(len(rows), 50)
        for text, user, _ in rows:
            self.assertEqual(text.partition(" at ")[0], user or "AnonymousUser")


@needs("django_guid")
class GuidTests(AddonTestCase):
    """django-guid: a dual function, and a number for each request."""

    parts = ("guid",)
    asks = both("/*/numbered", headers={"Correlation-ID": "42"})

    def test_same(self):
        """The client numbers its request: the view and the answer have the number."""
        answers = self.assert_same().answers
        numbered = [str(answer) for answer in answers if "numbered" in answer["asked"]]
        self.assertEqual(len(numbered), 2)
        for text in numbered:
            self.assertIn("correlation-id: 42", text)
            self.assertIn('"guid": "42"', text)
