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

// parquetSinkCases are the keys of the sink parquet.
func parquetSinkCases() []keyCase {
	on := func(key, rows, config string, values ...string) keyCase {
		return keyCase{
			key:  "sink parquet: " + key,
			yaml: "source: {values: {rows: [" + rows + "]}}\nsink: {parquet: {" + config + "}}", values: values,
		}
	}
	const rows, path = "{a: 1, b: x}, {a: 2, b: y}", "path: DIR/out.parquet"
	return []keyCase{
		on("path", rows, path, "DIR/a.parquet", "DIR/b.parquet"),
		on("schema", rows, path, "", "{a: int8, b: string}", "{b: string, a: double}", "{a: 'decimal(9, 2)', b: json}"),
		on("infer_rows", "{a: 1}, {a: x}", path, "1", "2"),
		on("compression", rows, path, "zstd", "snappy", "gzip", "none"),
		on("row_group.rows", rows, path, "1", "2"),
		on("row_group.bytes", rows, path, "1", "64MiB"),
	}
}
