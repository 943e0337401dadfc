"""The processes of a job: who am I among them, where do we meet, who counts what we share, what came of us all."""
