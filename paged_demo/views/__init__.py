"""Pictures and sliders: functions of snapshots."""
