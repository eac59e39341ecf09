def to_html(p, code): return "<html>"
