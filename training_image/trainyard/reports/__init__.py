"""The report of a run: the files that callbacks write during the run, and the page and pictures made from its folder.

`run_facts` writes files into the folder; `folder` reads it back; `findings` puts numbers into words; `learning_curves`,
`market` and `search_section` draw; `page` makes the layout; `build` joins the parts. The content of the page comes only
from the folder, so making it again gives the same page. Only `build` and the modules that it calls import matplotlib
and jinja2, never while a run trains.
"""
