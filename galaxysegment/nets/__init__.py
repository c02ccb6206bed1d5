"""The torch modules and the skorch glue: the only place that imports torch at the top."""
