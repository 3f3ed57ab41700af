"""The rates that the paper's servers sustain, each from a search for the knee: the comparison of Fig. 12."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from paged_demo.checks import check_count, follow
from paged_demo.paper import numbers as paper
from paged_demo.paper.experiment import ShownAsTable, Table, check_names
from paged_demo.paper.knee import Estimate, Knee, find_knee
from paged_demo.paper.latency_figures import find_workload
from paged_demo.serving.rules import Rules
from paged_demo.serving.run import Progress


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SustainedRates(ShownAsTable):
    """The knees of the paper's schemes on one workload; ``|`` joins those of different schemes.

    Attributes
    ----------
    workload : str
        A model and a data set.
    trace_s : float
        How long each trace lasted.
    knees : mapping of str to Knee
        By scheme.
    """

    workload: str
    trace_s: float
    knees: Mapping[str, Knee]

    def __or__(self, others: "SustainedRates") -> "SustainedRates":
        """Join the knees of other schemes to these."""
        if not isinstance(others, SustainedRates):
            return NotImplemented
        if (self.workload, self.trace_s) != (others.workload, others.trace_s):
            other = f"{others.workload} in {others.trace_s:,.0f} s"
            raise ValueError(f"others must be of {self.workload} in {self.trace_s:,.0f} s, got {other}")
        return replace(self, knees={**self.knees, **others.knees})

    def gain_over(self, scheme: str, latency_s: float = paper.SUSTAINED_LATENCY_S) -> Estimate:
        """Return how many times the rate of a scheme vLLM sustains."""
        return self.knees["vLLM"].rate_at(latency_s).over(self.knees[scheme].rate_at(latency_s))

    def table(self) -> Table:
        """Return the rates and their ratios, at several latencies, beside the paper's joined points."""
        drawn, chosen_s = paper.JOINED_RATES[self.workload], paper.SUSTAINED_LATENCY_S
        columns = ["", f"sustained at {chosen_s} s/token (1/s)"]
        columns += [f"vLLM's over it at {latency_s:g} s/token" for latency_s in paper.OTHER_LATENCIES_S]
        columns += ["paper's points, joined (1/s)", "vLLM's over it"]
        rows = [columns]
        for scheme, knee in self.knees.items():
            gains = []
            if scheme != "vLLM" and "vLLM" in self.knees:
                gains = [str(self.gain_over(scheme, latency_s)) for latency_s in paper.OTHER_LATENCIES_S]
            rows.append(
                [
                    scheme,
                    str(knee.rate_at()),
                    *(gains or [""] * len(paper.OTHER_LATENCIES_S)),
                    f"{drawn[scheme]:.3g}",
                    f"{drawn['vLLM'] / drawn[scheme]:.2f}" if gains else "",
                ]
            )
        num_runs = [len(knee.rates_rps) for knee in self.knees.values()]
        return Table(
            title=f"The rates that are sustained, {self.workload}",
            setup=f"{min(num_runs)} to {max(num_runs)} runs a scheme, each with a trace of its own of"
            f" {self.trace_s:,.0f} s; in brackets two standard errors either way",
            rows=rows,
        )


def sustained_rates(
    workload: str = "OPT-13B, ShareGPT",
    *,
    schemes: Iterable[str] = paper.SCHEMES,
    effort: int = 1,
    duration_s: float | None = None,
    seed: int = 0,
    progress: Progress = iter,
) -> SustainedRates:
    """Search for the knee of each of the paper's schemes.

    Parameters
    ----------
    workload : str
        One of ``FIG_12_WORKLOADS``: a model and a data set.
    schemes : iterable of str
        Whose knees to search for; that of a scheme does not hang on the others.
    effort : int
        Multiplies the runs behind each knee, which are as many as have 50,000 requests, and at least 8.
    duration_s : float, optional
        How long the traces last; if left out as long as the paper's, but for Alpaca six minutes.
    seed : int
        All traces are drawn from its children.
    progress : callable
        Wraps the schemes, as ``tqdm`` does; or the last runs of the search, if there is one scheme.
    """
    chosen, server = find_workload(workload)
    trace_s = (chosen.knee_s or server.trace_s) if duration_s is None else duration_s
    pools = server.pools()
    searched = check_names("schemes", schemes, pools)
    by_scheme, by_run = (iter, progress) if len(searched) == 1 else (progress, iter)
    knees = {}
    for scheme in follow(by_scheme, searched):
        knees[scheme] = find_knee(
            pools[scheme],
            chosen.lengths,
            rules=Rules(iteration_time=server.iteration_time),
            duration_s=trace_s,
            effort=effort,
            seed=len(pools) * check_count("seed", seed, minimum=0) + list(pools).index(scheme),
            progress=by_run,
        )
    return SustainedRates(workload=workload, trace_s=trace_s, knees=knees)
