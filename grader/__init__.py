"""The workbook's automatic grader: a submission goes in, a report comes out.

The folder names are the map: one module, one step of the way
``submission -> model -> policy -> stack -> checks -> report -> render``.
"""
