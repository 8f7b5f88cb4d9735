module filter

go 1.25

require hermetic v0.0.0

replace hermetic => ./hermetic/sdk-go
