package builtin_test

import "os"

// parquetKeyCases are the keys of the source parquet, on files that DuckDB wrote.
func parquetKeyCases() []keyCase {
	const testdata = "../../internal/parquetfile/testdata/"
	files := map[string]string{}
	for _, name := range []string{"duckdb.parquet", "hyparquet.parquet"} {
		data, err := os.ReadFile(testdata + name)
		if err != nil {
			panic(err)
		}
		files[name] = string(data)
	}
	on := func(key, config string, values ...string) keyCase {
		return keyCase{
			key: "source parquet: " + key, yaml: "source: {parquet: {" + config + "}}\nsink: {file: {path: DIR/out.jsonl}}",
			values: values, files: files,
		}
	}
	return []keyCase{
		on("path", "path: DIR/duckdb.parquet", "DIR/duckdb.parquet", "'DIR/hy*.parquet'"),
		on("columns", "path: DIR/duckdb.parquet", "", "[i64, s]", "[s, i64]", "[obj.b]"),
		on("binary", "path: DIR/duckdb.parquet, columns: [s, bin]", "base64", "text"),
		on("max_record", "path: DIR/duckdb.parquet", "64MiB", "500"),
	}
}
