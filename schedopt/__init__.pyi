# The public names: this list is what `import schedopt` offers, what type checkers see, and what tests/test_public.py
# checks. Each is imported when it is first used.
from .config import StudyConfig as StudyConfig
from .config import load_config as load_config
from .config import make_config as make_config
from .data import cut_excerpts as cut_excerpts
from .data import load_tracks as load_tracks
from .data import mix as mix
from .errors import SchedoptError as SchedoptError
from .evaluation import Evaluator as Evaluator
from .metrics import Metric as Metric
from .metrics import Truth as Truth
from .metrics import register_metric as register_metric
from .metrics import scorer as scorer
from .metrics import sdr as sdr
from .metrics import si_sdr as si_sdr
from .metrics import snr as snr
from .outputs import Output as Output
from .outputs import Step as Step
from .outputs import register_output as register_output
from .refinement import Refinement as Refinement
from .rules import Rule as Rule
from .rules import View as View
from .rules import register_rule as register_rule
from .schedules import Family as Family
from .schedules import Range as Range
from .schedules import family as family
from .schedules import line as line
from .schedules import register_family as register_family
from .search.own_study import StudyObjective as StudyObjective
from .search.own_study import objective as objective
from .separators import Separator as Separator
from .separators import load_separator as load_separator
from .songs.quality import Quality as Quality
from .songs.quality import quality as quality
from .songs.schedule import SongSchedule as SongSchedule
from .songs.schedule import load_schedule as load_schedule
from .trajectory import Scene as Scene
from .trajectory import refine as refine
from .types import STEMS as STEMS
from .types import Excerpt as Excerpt
from .view.figures.study import figures as figures
from .workers.run import run as run

__version__: str
