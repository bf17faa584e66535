"""Which instance this is: asked until it is answered, and before that nothing is promised.

Keys contain the instance id, so a key that was fixed too early would be wrong for ever. While the
service does not answer, the instance that the journal knows stands in: files are promised under
its keys and held, and nothing is sent. Where a tag decides on the bucket or the prefix, nothing
stands in: the tag may be another one by now. A disk may be an image's, so its word is never enough
for sending. When the service names another instance, ``adopt`` gives every such promise another
key.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any

from shipper.core import hints
from shipper.core.backoff import refresh_retry_wait
from shipper.core.object_keys import InstanceFacts, fact
from shipper.core.types import Instance
from shipper.ports import Metadata, PortError

ANSWERED_WAIT_SECONDS = 3600.0
NOTHING_GIVEN = Instance("")
_HINT_TAGS = "allow tags in instance metadata; a container has none"


@dataclass(kw_only=True)
class InstanceLookup:
    """Asks the metadata service for the identity document and the tags that keys need.

    ``adopt`` binds the journal to the instance first, and may raise ``PortError``; ``known`` is
    called afterwards.
    """

    metadata: Metadata
    prefix: str
    needs_region: bool
    """Whether the document must name one: no destination has one of its own."""
    hostname: str
    tags: frozenset[str]
    needed: frozenset[str] = frozenset()
    """Of ``tags``, those without which one of the destinations is none."""
    unfit: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda tags: {}
    """By destination, why it is none for an instance with these tags; empty where it is one."""
    adopt: Callable[[InstanceFacts], None]
    known: Callable[[InstanceFacts], None]
    rng: Random
    log: Any
    given: Instance = NOTHING_GIVEN
    """What the configuration says; with an id, the service is not asked for its document."""
    facts: InstanceFacts | None = field(default=None, init=False)
    problem: PortError | None = field(default=None, init=False)
    """Why the last question was not answered."""
    remembered: InstanceFacts | None = field(default=None, init=False)
    """What the journal knows of the instance; None once it is another."""
    _attempts: int = field(default=0, init=False)

    def remember(self, known: Mapping[str, Any]) -> None:
        """Take what the journal knows, with today's settings, if that is enough for keys.

        It never is where a destination needs a tag: a key with the old value would get into the
        bucket of the new one.
        """
        names = known.keys() & {field.name for field in fields(InstanceFacts)} - {"tags"}
        tags, texts = known.get("tags"), {name: known[name] for name in names}
        is_text = all(isinstance(one, str) for one in texts.values())
        if (
            isinstance(tags, dict)
            and is_text
            and texts.get("instance_id")
            and self.tags <= tags.keys()
            and not any(self.unfit({}).values())
        ):
            today = {"prefix": self.prefix, "hostname": self.hostname}
            self.remembered = InstanceFacts(**{**texts, **today, "tags": tags})

    @property
    def facts_for_keys(self) -> InstanceFacts | None:
        """The facts, or those remembered while the service does not answer."""
        return self.facts or (self.remembered if self.problem is not None else None)

    def problem_of(self, destination: str) -> PortError | None:
        """Why nothing goes to this destination; its tags are asked for again."""
        why = self.unfit(self.facts.tags).get(destination) if self.facts is not None else ""
        return PortError("TagUnusable", why, hints.TAG_NEEDED) if why else None

    def step(self) -> float:
        """Ask, unless it was answered; the seconds to wait before the next try."""
        if self.facts is not None:
            is_whole = not any(self.unfit(self.facts.tags).values())
            return ANSWERED_WAIT_SECONDS if is_whole else self._ask_again(self.facts)
        try:
            facts = self._ask()
            if self.remembered is not None and self.remembered.instance_id != facts.instance_id:
                self.remembered = None
            self.adopt(facts)
        except PortError as error:
            self._attempts += 1
            if self.problem is None or self.problem.code != error.code:
                self._tell(error)
            self.problem = error
            return refresh_retry_wait(self._attempts, self.rng.random())
        self.log.info(
            "instance.identified", instance_id=fact(facts.instance_id), region=fact(facts.region)
        )
        self.facts, self.problem = facts, None
        self.known(facts)
        return ANSWERED_WAIT_SECONDS

    def _ask_again(self, facts: InstanceFacts) -> float:
        """Ask for the tags that a destination misses, while the others are at work. What is known
        stays as it is: keys are made of it."""
        self._attempts += 1
        try:
            missing = {name for name in self.needed if not facts.tags[name]}
            found = {name: value for name, value in self._tags(missing).items() if value}
            if found:
                facts = replace(facts, tags={**facts.tags, **found})
                self.adopt(facts)
                self.facts = facts
                self.known(facts)
        except PortError:
            pass  # its gate says what is missing
        return refresh_retry_wait(self._attempts, self.rng.random())

    def _tags(self, names: Iterable[str]) -> dict[str, str | None]:
        return {name: self.metadata.get(f"meta-data/tags/instance/{name}") for name in names}

    def _tell(self, error: PortError) -> None:
        if error.code == "JournalUnwritable":  # it is identified
            self.log.error("journal.unwritable", **error.words)
        elif self.remembered is None:
            self.log.warning("instance.not_identified", **error.words)
        else:
            remembered = self.remembered.instance_id
            self.log.warning("instance.unconfirmed", instance_id=remembered, **error.words)

    def _instance(self) -> Instance:
        given = self.given
        found = given if given.instance_id else self.metadata.instance()
        return replace(
            found,
            account_id=given.account_id or found.account_id,
            region=given.region or found.region,
            availability_zone=given.availability_zone or found.availability_zone,
        )

    def _ask(self) -> InstanceFacts:
        instance = self._instance()
        if self.needs_region and not instance.region:
            hint = "set destination.region, if this lasts"
            raise PortError("BadAnswer", "the identity document names no region", hint)
        tags = self._tags(self.tags)
        known = {name: value or "" for name, value in tags.items()}
        unfit = [*self.unfit(known).values()]
        if unfit and all(unfit):
            raise PortError("TagUnusable", unfit[0], hints.TAG_NEEDED)
        for name in sorted(name for name, value in tags.items() if value is None):
            self.log.warning("tag.missing", tag=name, hint=_HINT_TAGS)
        return InstanceFacts(
            prefix=self.prefix,
            instance_id=instance.instance_id,
            account_id=instance.account_id,
            region=instance.region,
            availability_zone=instance.availability_zone,
            hostname=self.hostname,
            tags=known,
        )
