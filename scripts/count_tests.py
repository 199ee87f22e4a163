"""Adds up JUnit reports and prints `N passed, N failed, N skipped`; fails where a report is missing or a test failed."""

import sys
import xml.etree.ElementTree as ElementTree


def main(paths):
    passed = failed = skipped = 0
    for path in paths:
        cases = list(ElementTree.parse(path).iter("testcase"))
        if not cases:
            sys.exit(f"count_tests: no test in {path}")
        for case in cases:
            outcomes = {child.tag for child in case}
            if outcomes & {"failure", "error"} or case.get("status") == "fail":
                failed += 1
            elif "skipped" in outcomes or case.get("status") in ("notrun", "disabled"):
                skipped += 1
            else:
                passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
