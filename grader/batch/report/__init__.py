"""What people read about a class: one page for the instructor, one file for each student. Pure: text out."""
