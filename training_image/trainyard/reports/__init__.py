"""The report of a run: what callbacks write down while it goes on, and the page and pictures made of the run's folder.

`run_facts` writes files into the folder; `folder` reads it back; `findings` puts numbers into words; `learning_curves`,
`market` and `search_section` draw; `page` lays out; `build` puts it together. What the page shows comes from the
folder alone, so that making it again gives the same page. matplotlib and jinja2 are imported by `build` and what it
calls, never while a run trains.
"""
