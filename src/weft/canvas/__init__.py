"""Canvas: audio with parts missing, and the tasks that say which parts."""

from weft.canvas.canvas import Canvas as Canvas
from weft.canvas.canvas import Region as Region
from weft.canvas.style import Style as Style
from weft.canvas.tasks import continuation as continuation
from weft.canvas.tasks import generate as generate
from weft.canvas.tasks import inpaint as inpaint
from weft.canvas.tasks import regenerate as regenerate
from weft.canvas.tasks import transition as transition
