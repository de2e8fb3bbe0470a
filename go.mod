module narseal

go 1.26
