"""A class graded in parallel. One direction, each step a module:

    submissions/ -> places, handins, roster (whose is what) -> desk (what is to be graded)
                 -> run -> cluster -> work -> single (on the workers, a process for each) -> store (results/)
                 -> rubric (points, hidden checks, late policy) -> grades -> gradebooks/, report/, diff

``command`` is what is typed, ``progress`` what is shown meanwhile, ``job`` what travels.
"""
