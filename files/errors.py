"""The root of all expected trouble.

```
DimeRecError
├── CheckpointError      model/checkpoint.py
├── IndexingError        index/errors.py
├── BundleError          bundle/errors.py
├── TrainingError        training/errors.py
├── ServiceError         service/errors.py
├── HistoryError         service/history/errors.py
└── StoppedError         cli/interrupts.py
```
"""


class DimeRecError(Exception):
    """Expected trouble; its message is one line that names the fault and the remedy."""
