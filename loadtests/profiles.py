"""How much load, for how long: the named shapes of a load run."""

from dataclasses import dataclass

__all__ = ["PROFILES", "Profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """One shape of load at a constant rate of arrivals.

    Args:
        name: as given to --profile.
        journeys_per_second: arrivals of people, over all kinds of journey; each makes three to five requests.
        warm_up_seconds: load before the measurement; its samples are kept but not counted.
        measure_seconds: length of the measurement.
        minimum_samples: a run with fewer samples of any request kind has measured nothing and fails.
        error_limit: share of failed requests of any kind, above which the run fails.
        lag_limit_ms: the run is void when the generator began more than 1 % of the journeys later than this.
    """

    name: str
    journeys_per_second: int
    warm_up_seconds: float
    measure_seconds: float
    minimum_samples: int
    error_limit: float
    lag_limit_ms: float


PROFILES = {
    profile.name: profile
    for profile in (
        # A deploy's baseline. Readers, searchers and editors arrive 22 times a second each, newcomers 11 times, so that
        # each request kind is seen 500 times in 48 s, and most 1,000 times. Two password hashes for each newcomer (20
        # ms each as the service has it by default) take 0.4 of a core, all else about two thirds of one: a higher rate
        # would measure the queue for a small machine's processor.
        Profile(
            name="quick",
            journeys_per_second=77,
            warm_up_seconds=2,
            measure_seconds=48,
            minimum_samples=500,
            error_limit=0.001,
            lag_limit_ms=50,
        ),
    )
}
