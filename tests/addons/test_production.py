"""What many sites have together, and four users who are all there at a time."""

from __future__ import annotations

from .exchange import USERS, Ask, both
from .support import AddonTestCase, Run, needs

USUAL_STACK = ("cors", "allauth", "htmx", "otp")


class ProductionTestCase(AddonTestCase):
    """A stack, and what the clients of its packages ask."""

    concurrent = 48
    asks = (
        Ask("/verify", "bob", "POST", {"token": "token of bob"}),
        *both("/*/friend", "ann", headers={"Origin": "https://friend.example"}),
        *both("/*/part", "bob", headers={"HX-Request": "true", "HX-Target": "list"}),
        Ask("/accounts/email/", "ann"),
        Ask("/accounts/email/"),
        Ask("/aside"),
        Ask("/static/style.css"),
    )

    def assert_served(self) -> Run:
        """Assert that every user was served, the same by both servers, and as that user."""
        run = self.assert_same()
        met = [answer for answer in run.answers if "/meet/" in answer["asked"]]
        self.assertEqual(len(met), 48)
        for answer in met:
            user = answer["asked"].rpartition(" by ")[2]
            text = answer["answer"][-1]
            with self.subTest(asked=answer["asked"]):
                self.assertEqual(answer["status"], 200)
                self.assertEqual(text.count(f'"user": "{user}"'), 2)
                self.assertEqual(text.count('"is_in_context": true'), 2)
                self.assertEqual(text.count('"is_verified": true'), 2 * (user == "bob"))
        return run


@needs("corsheaders", "allauth", "django_htmx", "django_otp", small=True)
class ProductionTests(ProductionTestCase):
    """CORS, accounts, htmx and one-time passwords: no class for sync alone among them."""

    parts = USUAL_STACK

    def test_users(self):
        """The users are all in views at a time, and each is taken for nobody else."""
        self.assert_served()


@needs("corsheaders", "allauth", "django_htmx", "django_otp", "whitenoise")
class WhiteNoiseTests(ProductionTestCase):
    """The same with static files from a middleware that is for sync alone."""

    parts = (*USUAL_STACK, "whitenoise")

    def test_users(self):
        """The users are all in views at a time, and each is taken for nobody else."""
        run = self.assert_served()
        (file,) = [answer for answer in run.answers if "/static/" in answer["asked"]]
        self.assertEqual(file["status"], 200)


@needs(
    "corsheaders", "allauth", "django_htmx", "django_otp", "whitenoise", "sentry_sdk", small=True
)
class SentryTests(ProductionTestCase):
    """The same with Sentry's SDK around all of it."""

    parts = (*USUAL_STACK, "whitenoise", "sentry")

    def test_users(self):
        """The users are all in views at a time, and Sentry takes nobody for another either."""
        events = self.assert_served().recorded["sentry"]["events"]
        met = [event for event in events if "/meet/" in str(event["request"][1])]
        self.assertEqual(len(met), 48)
        users = {event["mark"].partition("/")[2] for event in met}
        self.assertEqual(users, set(USERS))
        for event in met:
            with self.subTest(event=event):
                self.assertEqual(event["mark"].partition("/")[0], event["request"][1][-1])
