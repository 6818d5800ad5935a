// Package parquetfile turns Parquet files into records and records into Parquet files,
// and is the only one that imports parquet-go.
//
// parquet-go decodes the values of a page and encodes those of a row group. Everything
// that a damaged or hostile file could lead astray is looked at before: the footer, the
// headers of the pages, the sizes they claim, what is decompressed. What every type of
// Parquet is in JSON, so that nothing is lost:
//
//	BOOLEAN, INT32, INT64, all INT(n)   true, false; numbers, of all 64 bits
//	FLOAT, DOUBLE, FLOAT16              the shortest number that is read as the same value;
//	                                    "NaN", "Infinity" and "-Infinity", which JSON has not
//	DECIMAL                             a number with all its digits: 12.30
//	STRING, ENUM                        strings; one that is no UTF-8 makes its row unreadable
//	JSON                                the value itself
//	UUID                                "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
//	DATE                                "2026-11-23"
//	TIME                                "06:35:00.000", with the digits of its unit; with a Z if it is UTC
//	TIMESTAMP                           "2026-11-23T06:35:00.000000Z" in UTC, with the digits of its unit;
//	                                    without the Z if it is local
//	INT96                               a TIMESTAMP in UTC, of nanoseconds
//	INTERVAL                            {"months":1,"days":2,"milliseconds":3}
//	BSON and whatever has no type       base64, or the bytes as text if that is asked for
//	a group, LIST, MAP                  an object; a list, in all the ways it was ever written; an object,
//	                                    whose names are the keys as text
//
// Years before 0 and after 9999 have a sign and at least six digits.
package parquetfile
