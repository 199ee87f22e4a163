"""The reports of the runs in this folder: JSON on standard output, and in a file where one is asked for."""
import json
import pathlib


def add_report_argument(parser):
    parser.add_argument("--report", help="file for the report, beside standard output")


def publish(report, options):
    """Prints the report; `options` are those of a parser with the argument of above."""
    text = json.dumps(report, indent=2)
    print(text)
    if options.report:
        pathlib.Path(options.report).write_text(text)
