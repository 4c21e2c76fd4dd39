"""Search: from a budget to a policy.

`tune` is what users call, with what `options` has. Beneath it, each in a file: what is tuned
(`subject`) and drawn of it (`samples`), where it draws (`frdiff.engines`), how near it comes to the
converged solution (`measure`, `journal`), what there is to choose from and what it costs (`outset`,
`space`, `prices`, `solvers`), forecasts fitted in closed form (`record`, `fit`, `steer`), numbers
that follow the converged solution (`follow`, `spread`, `guide`) and are learnt from there
(`freedoms`, `tape`, `learn`), and the searches themselves (`shapes`, `climb`, `paths`, `within`,
`tuner`); and what makes a policy fit in bytes (`room`).
"""

from frdiff.choices import PARETO, VARIABLES
from frdiff.search.api import tune
from frdiff.search.options import Goal, Options
from frdiff.search.room import bytes_needed, fit_memory

__all__ = ["PARETO", "VARIABLES", "Goal", "Options", "bytes_needed", "fit_memory", "tune"]
