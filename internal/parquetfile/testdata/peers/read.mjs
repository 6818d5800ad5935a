// Reads Parquet files with DuckDB and with hyparquet, and prints each as JSON lines: node read.mjs FILE…
import fs from 'fs';
import { DuckDBInstance } from '@duckdb/node-api';
import { parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';

const duckdb = await (await DuckDBInstance.create(':memory:')).connect();
await duckdb.run("set timezone='UTC'");
for (const path of process.argv.slice(2)) {
  await duckdb.run(`copy (select * from read_parquet('${path}')) to '${path}.duckdb' (format json)`);
  const data = fs.readFileSync(path);
  const file = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  const rows = await parquetReadObjects({ file, compressors });
  fs.writeFileSync(`${path}.hyparquet`, JSON.stringify(rows, (_, v) => (typeof v === 'bigint' ? v.toString() : v)));
}
