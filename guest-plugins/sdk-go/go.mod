module hermetic

go 1.25
