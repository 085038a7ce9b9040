"""The benchmark on a GPU: what is measured (``rows``), against whom (``peers``), how (``timing``) and by what count."""
