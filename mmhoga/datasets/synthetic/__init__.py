"""Generated pictures: shapes and people, as data sets in COCO format."""
