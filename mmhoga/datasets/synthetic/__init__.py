"""Generated data sets in COCO format: shapes for detection, stick people for pose estimation."""
