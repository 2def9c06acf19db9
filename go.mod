module github.com/warder-gateway/warder

go 1.26
