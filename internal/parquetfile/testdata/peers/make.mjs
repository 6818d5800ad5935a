// Writes the Parquet files of ../README.md: npm install @duckdb/node-api@1.5.6-r.1 hyparquet-writer@0.17.0
// and node make.mjs FOLDER.
import fs from 'fs';
import { DuckDBInstance } from '@duckdb/node-api';
import { parquetWriteBuffer } from 'hyparquet-writer';

const i = await DuckDBInstance.create(':memory:'); const c = await i.connect();
await c.run("set timezone='UTC'");
const out = process.argv[2];
await c.run(`create table t as select * from (values
 (1::bigint, true, 1::tinyint, 2::smallint, 3::integer, 255::utinyint, 65535::usmallint, 4294967295::uinteger, 18446744073709551615::ubigint,
  1.5::float, 0.1::double, 12.30::decimal(5,2), -99999999999999999999999999999999999.999::decimal(38,3), 'héllo "x"', 'AB\\x00\\xFF'::blob,
  '2026-11-23'::date, '06:35:00.123456'::time, '2026-11-23 06:35:00.123456'::timestamp, '2026-11-23 06:35:00.123456789'::timestamp_ns, '2026-11-23 06:35:00.123'::timestamp_ms, '2026-11-23 06:35:00+02'::timestamptz,
  '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid, interval '1 month 2 days 3 milliseconds', '{"b": 1, "a": [1.50, null]}'::json, 'red'::enum('red','green'),
  [1,null,3]::integer[], [[1],[],null]::integer[][], {'a': 1, 'b': {'c': 'x'}}, [{'k': 'p', 'v': 1.5},{'k': 'q', 'v': null}]::struct(k varchar, v double)[], map {'x': 1, 'y': null}, map {1: ['a']}),
 ('-9223372036854775808'::bigint, false, -128, -32768, -2147483648, 0, 0, 0, 0,
  'nan'::float, 'infinity'::double, -0.01, 0.001, '', ''::blob,
  '0001-01-01', '00:00:00', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999999', '1969-12-31 23:59:59.999', '0001-01-01 00:00:00+00',
  '00000000-0000-0000-0000-000000000000', interval '0 days', 'null', 'green',
  [], [], {'a': null, 'b': {'c': null}}, [], map {}, map {}),
 (null,null,null,null,null,null,null,null,null,null,'-infinity'::double,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null)
) v(i64,b,i8,i16,i32,u8,u16,u32,u64,f,d,dec,big,s,bin,date,time,ts,ts_ns,ts_ms,tz,uuid,span,js,en,list,lists,obj,objs,map,imap)`);
await c.run(`copy t to '${out}/duckdb.parquet' (format parquet)`);
await c.run(`copy (select i as n, case when i%7=0 then null else 'text '||(i%50) end as s, [i, i+1, i+2][:i%4] as l, i*0.25 as d from range(3000) r(i)) to '${out}/duckdb-groups.parquet' (format parquet, row_group_size 2048, compression zstd, parquet_version v2)`);
const columnData=[
 {name:'id', data:['6ba7b810-9dad-11d1-80b4-00c04fd430c8',null], type:'UUID'},
 {name:'half', data:[1.5,-65504], type:'FLOAT16'},
 {name:'when', data:[new Date('2026-11-23T06:35:00.123Z'), new Date('1969-12-31T23:59:59.999Z')], type:'TIMESTAMP'},
 {name:'doc', data:[{a:[1,{b:null}]}, 'x'], type:'JSON'},
 {name:'n', data:[9007199254740993n, -1n], type:'INT64'},
 {name:'text', data:['a,b', 'ü'], type:'STRING'},
];
fs.writeFileSync(out+'/hyparquet.parquet', Buffer.from(parquetWriteBuffer({columnData})));
