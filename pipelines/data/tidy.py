# Tidies a contact. A record comes in as a line of JSON; one line goes out for it
# before the next is read: the record, null to drop it, a list to make several of it,
# or {"error": "why"} to refuse it.
import json
import sys

for line in sys.stdin:
    row = json.loads(line)
    row["name"] = " ".join(row["name"].split()).title()
    row["email"] = row["email"].strip().lower()
    if not row["email"]:
        row = None  # dropped
    elif "@" not in row["email"]:
        row = {"error": f"{row['email']} is no address"}
    print(json.dumps(row, ensure_ascii=False))
