"""The command line: parse, call ``stn_det.apis``, print."""
