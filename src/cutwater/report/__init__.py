"""What the numbers show: tables, pictures, pages; each a fold over a profile, a plan or a trial."""
